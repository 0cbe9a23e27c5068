"""One row of a layer table. No torch here: a page and the builder make such rows by arithmetic alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer for one picture.

    shape: of its output, ``(channels, height, width)`` or ``(units,)``. macs: multiply-accumulates of
    convolutions and dense layers; the rest costs next to nothing and counts 0.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    params: int
    macs: int

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def totals(rows: Sequence[LayerRow]) -> tuple[int, int]:
    """``(parameters, MACs)`` of the whole network."""
    return sum(row.params for row in rows), sum(row.macs for row in rows)


def shape_text(shape: Sequence[int]) -> str:
    """``6@28×28`` (channels, width, height), as LeNet's paper writes it; plain numbers for a list."""
    if len(shape) == 3:
        return f"{shape[0]}@{shape[2]}×{shape[1]}"
    return "×".join(map(str, shape))
