"""``quantise_file``: an int8 version of a model file, and an honest word on whether to use it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from imago.edge_runtime.contract import spec_from_metadata
from imago.edge_runtime.engines.base import Engine
from imago.edge_runtime.engines.ort import OrtEngine
from imago.edge_runtime.errors import DataError, InputError, ModelError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import Progress
from imago.edge_runtime.spec import ModelSpec
from imago.edge_runtime.types import U8
from imago.export.onnx_export import with_self_test, write_model
from imago.quantize.calibration import Pictures, pictures
from imago.quantize.paired import PairedDrop, paired_drop
from imago.quantize.ptq import SCHEMES, Candidate, probabilities, quantise
from imago.train.data.layouts import load_dataset
from imago.train.dataset import DataOptions

if TYPE_CHECKING:
    from imago.quantize.qat.session import QatOptions


@dataclass(frozen=True, slots=True)
class QuantiseOptions:
    """calibration: pictures from the training split that set the ranges; as many again choose the scheme.
    max_drop: accuracy that may be lost, in points. gate: pictures for the gate (0: the whole split).
    qat: train with the int8 arithmetic in the loop where the gate is not passed without (None: never)."""

    calibration: int = 256
    max_drop: float = 0.5
    gate: int = 0
    runs: int = 200
    data: DataOptions = field(default_factory=DataOptions)
    qat: QatOptions | None = None

    def __post_init__(self) -> None:
        if not 8 <= self.calibration <= 100_000:
            raise InputError("--count is {n}; expected 8 to 100000 calibration pictures", n=self.calibration)
        if not 0 <= self.max_drop <= 100:
            raise InputError("--max-drop is {drop}; expected 0 to 100 points", drop=self.max_drop)


@dataclass(frozen=True, slots=True)
class QuantiseReport:
    """fp32 and int8 side by side on this machine. Times: p50 in µs of the engine alone, one thread,
    measured alternately. split, n: where the accuracies come from."""

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
    qat: Mapping[str, Any] = field(default_factory=dict)

    @property
    def faster(self) -> bool:
        """Whether int8 is at least as fast here."""
        return self.int8_us <= self.fp32_us

    @property
    def recommended(self) -> bool:
        """Whether to use the int8 file instead of the float one."""
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
        return tr("recommended: int8 is faster and its accuracy holds")

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "model": str(self.target),
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
            "recommended": self.recommended,
            "reason": self.reason(),
            "qat": dict(self.qat),
        }


def quantise_file(
    source: Path,
    data: Path,
    target: Path,
    options: QuantiseOptions | None = None,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> QuantiseReport:
    """Quantise ``source`` (an ONNX file with contract) with pictures from ``data``; write ``target``.

    Raises ImagoError subclasses for what the user can mend; nothing half-written.
    """
    options = options or QuantiseOptions()
    engine = OrtEngine(source)
    spec = _float_spec(source, engine)
    dataset = load_dataset(data, options.data)
    chosen = pictures(dataset, "train", spec, 2 * options.calibration)
    tensors = chosen.tensors(spec.input.layout)
    half = len(tensors) // 2
    if half < 4:
        raise DataError(
            "{n} training pictures are too few to calibrate with; give at least 8", n=len(tensors)
        )
    with Progress(len(SCHEMES), tr("quantising")) as bar:
        best = quantise(source, tensors[:half], tensors[half:], advance=bar.advance)
    split = "val" if len(dataset.splits.get("val", ())) else "test"
    gate = pictures(dataset, split, spec, options.gate)
    report = _compared(source, engine, best, gate, split=split, target=target, options=options)
    if options.qat is not None and report.drop.verdict(options.max_drop) != "pass":
        from imago.quantize.qat.session import quantise_aware

        say(
            tr(
                "the gate is not passed yet ({drop} points); training on with int8 arithmetic",
                drop=_drop(report),
            )
        )
        workspace = target.with_name(f"{target.stem}.qat")
        trained, facts = quantise_aware(
            onnx.load(source), best.model, spec, dataset, workspace, options=options.qat, say=say
        )
        best = replace(best, model=trained)
        report = _compared(source, engine, best, gate, split=split, target=target, options=options)
        report = replace(report, qat=facts.to_dict())
    report = replace(report, generated=dataset.generated)
    write_model(best.model, _int8_spec(spec, best, report, chosen.images), target)
    return replace(report, int8_bytes=target.stat().st_size)


def _drop(report: QuantiseReport) -> str:
    low, high = report.drop.interval
    return f"{report.drop.drop:+.2f}, {low:+.2f} … {high:+.2f}"


def _float_spec(source: Path, engine: OrtEngine) -> ModelSpec:
    spec = spec_from_metadata(engine.metadata)
    if spec is None:
        raise ModelError(
            "{path} carries no contract; only models exported by imago can be quantised", path=source
        )
    if spec.precision != "fp32":
        raise ModelError(
            "{path} is {precision} already; give the fp32 file", path=source, precision=spec.precision
        )
    return spec


def _compared(
    source: Path,
    engine: OrtEngine,
    best: Candidate,
    gate: Pictures,
    *,
    split: str,
    target: Path,
    options: QuantiseOptions,
) -> QuantiseReport:
    small = OrtEngine(best.model.SerializeToString())
    tensors = gate.tensors("nchw" if engine.input_shape[1] in (1, 3) else "nhwc")
    answers = [probabilities(e, tensors).argmax(1) for e in (engine, small)]
    times = side_by_side({"fp32": engine, "int8": small}, tensors[:1], options.runs)
    return QuantiseReport(
        target=target,
        scheme=best.scheme.name,
        split=split,
        fp32_accuracy=float((answers[0] == gate.labels).mean()),
        int8_accuracy=float((answers[1] == gate.labels).mean()),
        drop=paired_drop(gate.labels, *answers),
        max_drop=options.max_drop,
        fp32_bytes=source.stat().st_size,
        int8_bytes=best.model.ByteSize(),
        fp32_us=times["fp32"],
        int8_us=times["int8"],
    )


def side_by_side(engines: Mapping[str, Engine], tensor: U8, runs: int) -> dict[str, float]:
    """p50 in µs of each engine on ``tensor``, called in turn so that a noisy moment hits all alike."""
    calls: dict[str, Callable[[U8], Any]] = {name: engine.run for name, engine in engines.items()}
    times: dict[str, list[int]] = {name: [] for name in calls}
    for round_number in range(runs + 20):
        for name, call in calls.items():
            began = time.perf_counter_ns()
            call(tensor)
            if round_number >= 20:
                times[name].append(time.perf_counter_ns() - began)
    return {name: float(np.median(values)) / 1000 for name, values in times.items()}


def _int8_spec(spec: ModelSpec, best: Candidate, report: QuantiseReport, images: U8) -> ModelSpec:
    facts = {"split": report.split, "n": report.drop.n, "top1": report.int8_accuracy, "precision": "int8"}
    calibration = {
        **spec.calibration,
        "scheme": best.scheme.name,
        "pictures": len(images) // 2,
        "drop": report.drop.to_dict(),
        **({"qat": report.qat} if report.qat else {}),
    }
    fresh = replace(
        spec,
        precision="int8",
        accuracy=({**facts, "generated": report.generated},),
        calibration=calibration,
        selftest=None,
    )
    return with_self_test(best.model, fresh, images)
