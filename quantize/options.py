"""What quantising is asked to do: one frozen value, one source of defaults for CLI, page and API."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from imago.edge_runtime.errors import InputError
from imago.train.dataset import DataOptions

if TYPE_CHECKING:
    from imago.quantize.qat.session import QatOptions

Precision = Literal["auto", "int8", "int8-weights"]
LEAST = 8  # calibration pictures: half of them set ranges, half choose


@dataclass(frozen=True, slots=True)
class QuantiseOptions:
    """calibration: pictures from the training split that set the ranges; as many again choose the scheme.
    max_drop: accuracy that may be lost, in points. gate: pictures for the gate (0: the whole split).
    precision: ``int8`` (integer arithmetic), ``int8-weights`` (stored as int8, computed in float), or
    ``auto``: integers where they are faster and good enough. mixed: keep the worst layers float where int8
    loses too much. qat: train with the int8 arithmetic in the loop where integers miss the gate (None:
    never)."""

    calibration: int = 256
    max_drop: float = 0.5
    gate: int = 0
    runs: int = 200
    precision: Precision = "auto"
    mixed: bool = True
    data: DataOptions = field(default_factory=DataOptions)
    qat: QatOptions | None = None

    def __post_init__(self) -> None:
        if not LEAST <= self.calibration <= 100_000:
            raise InputError("--count is {n}; expected 8 to 100000 calibration pictures", n=self.calibration)
        if not 0 <= self.max_drop <= 100:
            raise InputError("--max-drop is {drop}; expected 0 to 100 points", drop=self.max_drop)
        if self.precision not in get_args(Precision):
            raise InputError(
                "--{name} is {value}; expected one of: {choices}",
                name="precision",
                value=self.precision,
                choices=", ".join(get_args(Precision)),
            )
        if self.qat is not None and self.precision == "int8-weights":
            raise InputError("--qat trains integer arithmetic; leave it or --precision int8-weights out")
