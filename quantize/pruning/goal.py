"""What a network costs, and what it may cost. No torch here: bad flags are told before it loads."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Unit = Literal["macs", "params", "fp32_bytes", "int8_bytes", "work"]


@dataclass(frozen=True, slots=True)
class Cost:
    """One network. macs: multiply-accumulates for one picture. params: learnable numbers. fp32_bytes,
    int8_bytes: estimated size of the ONNX file, where batch normalisation is folded into the layer before
    it."""

    macs: int
    params: int
    fp32_bytes: int
    int8_bytes: int

    def to_dict(self) -> dict[str, int]:
        """JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Goal:
    """At most ``limit`` of ``unit`` may be left."""

    unit: Unit
    limit: float

    @property
    def price(self) -> Unit:
        """What a channel's removal is worth. For a goal in multiplications: work, so that time falls too."""
        return "work" if self.unit == "macs" else self.unit
