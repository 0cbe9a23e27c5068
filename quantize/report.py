"""``QuantiseReport``: fp32 and the small file side by side, and an honest word on which to use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imago.edge_runtime.messages import tr
from imago.quantize.kernels import Kernels
from imago.quantize.measure import NOISE, Measured
from imago.quantize.paired import PairedDrop
from imago.quantize.ptq import Tried

INT8, INT8_WEIGHTS = "int8", "int8-weights"


@dataclass(frozen=True, slots=True)
class QuantiseReport:
    """fp32 and the file that was written, side by side on this machine (``int8_…`` whatever its precision).

    Times: p50 in µs of the engine alone, one thread, measured alternately. split, n: where the accuracies
    come from. precision: ``int8`` (integer arithmetic) or ``int8-weights`` (stored as int8, computed in
    float). kernels: what runs in integers and what stayed float. floats: layers kept float on purpose.
    tried: candidates with their figures. measured: every version that was held against fp32. qat: what
    training with the int8 arithmetic in the loop brought, where there was any.
    """

    target: Path
    scheme: str
    split: str
    fp32_accuracy: float
    int8_accuracy: float
    drop: PairedDrop
    max_drop: float
    fp32_bytes: int
    int8_bytes: int
    fp32_us: float
    int8_us: float
    generated: bool = False
    precision: str = INT8
    kernels: Kernels | None = None
    floats: tuple[str, ...] = ()
    tried: tuple[Tried, ...] = ()
    measured: tuple[Measured, ...] = ()
    qat: Mapping[str, Any] = field(default_factory=dict)

    @property
    def versions(self) -> tuple[Measured, ...]:
        """Every version that was held against fp32; the one that was written where only that is known."""
        written = Measured(
            precision=self.precision,
            scheme=self.scheme,
            accuracy=self.int8_accuracy,
            drop=self.drop,
            bytes=self.int8_bytes,
            us=self.int8_us,
            fp32_us=self.fp32_us,
            kernels=self.kernels,
            floats=self.floats,
        )
        return self.measured or (written,)

    @property
    def faster(self) -> bool:
        """Whether the small file is at least as fast here, as far as this machine can tell."""
        return self.int8_us <= NOISE * self.fp32_us

    @property
    def recommended(self) -> bool:
        """Whether to use the small file instead of the float one."""
        return self.faster and self.drop.verdict(self.max_drop) == "pass"

    def reason(self) -> str:
        """One sentence for people."""
        verdict = self.drop.verdict(self.max_drop)
        low, high = (f"{v:+.2f}" for v in self.drop.interval)
        if verdict == "fail":
            return tr(
                "not recommended: int8 loses {drop} points (95 % interval {low} to {high}), "
                "allowed are {max}",
                drop=f"{self.drop.drop:.2f}",
                low=low,
                high=high,
                max=self.max_drop,
            )
        if not self.faster:
            return tr(
                "not recommended: int8 is slower here ({int8} against {fp32} µs); keep the fp32 file",
                int8=f"{self.int8_us:.0f}",
                fp32=f"{self.fp32_us:.0f}",
            )
        if verdict == "too few":
            return tr(
                "cannot tell: {n} pictures are too few (drop {low} to {high} points, allowed are {max}); "
                "give more pictures or a larger --max-drop",
                n=self.drop.n,
                low=low,
                high=high,
                max=self.max_drop,
            )
        return self._praise()

    def _praise(self) -> str:
        if self.precision != INT8_WEIGHTS:
            return tr("recommended: int8 is faster and its accuracy holds")
        integers = [m for m in self.measured if m.precision == INT8]
        if not integers:
            return tr("recommended: a smaller file that runs like fp32, and its accuracy holds")
        whole = min(integers, key=lambda m: m.drop.drop)
        if not whole.fast:
            return tr(
                "recommended with int8 weights: a smaller file that runs like fp32; "
                "integer arithmetic would be slower here ({int8} against {fp32} µs)",
                int8=f"{whole.us:.0f}",
                fp32=f"{whole.fp32_us:.0f}",
            )
        return tr(
            "recommended with int8 weights: a smaller file that runs like fp32; "
            "integer arithmetic would lose {drop} points",
            drop=f"{whole.drop.drop:.2f}",
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "model": str(self.target),
            "precision": self.precision,
            "scheme": self.scheme,
            "split": self.split,
            "n": self.drop.n,
            "generated_data": self.generated,
            "accuracy_fp32": self.fp32_accuracy,
            "accuracy_int8": self.int8_accuracy,
            **{k: v for k, v in self.drop.to_dict().items() if k != "n"},
            "max_drop_points": self.max_drop,
            "bytes_fp32": self.fp32_bytes,
            "bytes_int8": self.int8_bytes,
            "p50_us_fp32": self.fp32_us,
            "p50_us_int8": self.int8_us,
            **({} if self.kernels is None else self.kernels.to_dict()),
            "layers_kept_float": list(self.floats),
            "candidates": [t.to_dict() for t in self.tried],
            "measured": [m.to_dict() for m in self.measured],
            "qat": dict(self.qat),
            "recommended": self.recommended,
            "reason": self.reason(),
        }
