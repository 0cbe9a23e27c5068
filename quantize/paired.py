"""Is the small model worse? A paired comparison on the same pictures, with an interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class PairedDrop:
    """How much accuracy is lost, in points (hundredths), with a 95 % interval.

    n: pictures. worse, better: pictures that only the first or only the second model gets right.
    """

    n: int
    worse: int
    better: int

    @property
    def drop(self) -> float:
        """Accuracy of the first minus accuracy of the second, in points."""
        return 100 * (self.worse - self.better) / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of ``drop``: Wald with one picture added to each discordant cell
        (Bonett & Price 2012), which stays honest where few or no pictures differ."""
        n = self.n + 2
        worse, better = (self.worse + 1) / n, (self.better + 1) / n
        middle = worse - better
        half = Z95 * math.sqrt((worse + better - middle**2) / n)
        return 100 * (middle - half), 100 * (middle + half)

    def verdict(self, max_drop: float) -> Literal["pass", "fail", "too few"]:
        """``pass`` when the interval's bad end is inside, ``fail`` when even its good end is outside or the
        drop itself is, else the pictures are too few to tell."""
        if self.interval[1] <= max_drop:
            return "pass"
        return "fail" if self.drop > max_drop else "too few"

    def to_dict(self) -> dict[str, Any]:
        """JSON form; points as numbers."""
        low, high = self.interval
        return {"n": self.n, "drop_points": self.drop, "interval_points": [low, high]}


def paired_drop(
    labels: npt.NDArray[np.int64], first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
) -> PairedDrop:
    """Compare two models' answers (class indices ``(n,)``) on the same pictures."""
    a, b = first == labels, second == labels
    return PairedDrop(len(labels), int((a & ~b).sum()), int((b & ~a).sum()))
