"""What ``imago compress`` is asked to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from imago.edge_runtime.errors import InputError
from imago.workflow.compress.choose import Engine, Gates, Precision, Recipe

PRECISIONS: tuple[Precision, ...] = ("fp32", "int8", "int8-weights")


@dataclass(frozen=True, slots=True)
class CompressOptions:
    """gates: what the result must keep to. macs: shares of the multiply–accumulates that pruned versions
    keep. engines: file formats. epochs: of retraining after pruning (0: half of the run's own).
    calibration: training pictures that set int8 ranges. qat_epochs: of quantisation-aware fine-tuning
    where int8 misses the gate (0: none). runs: timed calls of each file. threads: of training (0: all).
    teacher: run whose answers retraining learns from (None: the run that is compressed).
    """

    gates: Gates = field(default_factory=Gates)
    macs: tuple[float, ...] = (0.5, 0.25)
    engines: tuple[Engine, ...] = ("onnx",)
    precisions: tuple[Precision, ...] = PRECISIONS
    epochs: int = 0
    calibration: int = 256
    qat_epochs: int = 3
    runs: int = 300
    threads: int = 0
    teacher: str | None = None

    def __post_init__(self) -> None:
        for share in self.macs:
            if not 0 < share < 1:
                raise InputError(
                    "--{name} is {value}; expected a share between 0 and 1, such as 0.5 to keep half",
                    name="macs",
                    value=share,
                )
        if len(set(self.macs)) != len(self.macs):
            raise InputError("--macs names a share twice: {shares}", shares=", ".join(map(str, self.macs)))

    def recipes(self) -> Iterator[Recipe]:
        """Every candidate, the plain model first; what later ones are made from comes before them."""
        yield Recipe()
        smaller: tuple[Precision, ...] = tuple(p for p in self.precisions if p != "fp32")
        for macs in (1.0, *sorted(self.macs, reverse=True)):
            for engine in self.engines:
                for precision in (PRECISIONS[0], *smaller):
                    recipe = Recipe(macs, engine, precision)
                    if not recipe.plain:
                        yield recipe

    def making(self) -> dict[str, Any]:
        """The options that decide what the files contain; others may change between two calls."""
        return {
            "epochs": self.epochs,
            "calibration": self.calibration,
            "qat_epochs": self.qat_epochs,
            **({"teacher": self.teacher} if self.teacher else {}),
        }
