"""Does the engine say of the written int8 file what training said? Then the file has the trained accuracy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from imago.edge_runtime.errors import GateError
from imago.edge_runtime.types import F32

LEAST_AGREEMENT = 0.995
LARGEST_DISTANCE = 0.01
# Engines fuse quantised layers and round a sum in another order once in a while: one step of the last
# activation. Two classes closer than this may change places by it.
TIE = 0.02


@dataclass(frozen=True, slots=True)
class Alignment:
    """n pictures; agreement: share with the same top class; distance: mean total variation of the
    probabilities, ``½ Σ|Δp|``, 0 to 1."""

    n: int
    agreement: float
    distance: float

    def require(self) -> None:
        """Raise GateError where training and engine disagree."""
        if self.agreement >= LEAST_AGREEMENT and self.distance <= LARGEST_DISTANCE:
            return
        raise GateError(
            "the engine's int8 answers are not those of the training (same class on {agreement} of {n} "
            "pictures, mean distance {distance}); nothing was written. Processors without VNNI or dot "
            "product instructions may cut sums off: quantise on another machine or without --qat",
            agreement=f"{self.agreement:.2%}",
            n=self.n,
            distance=f"{self.distance:.4f}",
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def compare(trained: F32, engine: F32) -> Alignment:
    """Probabilities float32 ``(n, classes)`` as training and as the engine computes them."""
    rows = np.arange(len(trained))
    same = trained.max(1) - trained[rows, engine.argmax(1)] <= TIE
    distance = np.abs(trained - engine).sum(1) / 2
    return Alignment(len(trained), float(same.mean()), float(distance.mean()))
