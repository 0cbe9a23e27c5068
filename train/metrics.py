"""How good a classifier is: accuracy and its interval, precision and recall, confusion. numpy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.types import F32

I64 = npt.NDArray[np.int64]
Z95 = 1.959964  # two-sided 95 % of a normal distribution


@dataclass(frozen=True, slots=True)
class ClassResult:
    """One class. n: pictures of it. precision: None where it was never predicted; recall: None for n = 0."""

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    n: int


@dataclass(frozen=True, slots=True, eq=False)
class EvalResult:
    """Figures over ``n`` pictures; all shares are fractions 0..1.

    interval: Wilson's 95 % interval of ``accuracy``. top5: share with the right class among the five
    likeliest. confusion: int64 ``(classes, classes)``, row = true class, column = predicted.
    """

    n: int
    accuracy: float
    interval: tuple[float, float]
    top5: float
    per_class: tuple[ClassResult, ...]
    confusion: I64

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in index order."""
        return tuple(entry.label for entry in self.per_class)

    def to_dict(self) -> dict[str, Any]:
        """JSON form with plain keys."""
        return {
            "accuracy": self.accuracy,
            "n": self.n,
            "interval_95": list(self.interval),
            "top5": self.top5,
            "per_class": [asdict(entry) for entry in self.per_class],
            "confusion": self.confusion.tolist(),
        }


def confusion_matrix(labels: I64, predicted: I64, n: int) -> I64:
    """Counts int64 ``(n, n)`` of true class (row) against predicted class (column)."""
    return np.bincount(labels * n + predicted, minlength=n * n).reshape(n, n)


def wilson(correct: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Score interval of a share (Wilson 1927): holds near 0 and 1 and for small ``n``; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    share, spread = correct / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    # at the ends the interval reaches them exactly; rounding must not leave 1e-17
    return (0.0 if correct == 0 else centre - half), (1.0 if correct == n else centre + half)


def top_k(probabilities: F32, labels: I64, k: int) -> float:
    """Share of rows whose label is among the ``k`` largest of ``probabilities`` ``(n, classes)``.

    Of equal values the lower index comes first, as in ``Prediction.top``.
    """
    if not len(labels):
        return 0.0
    own = probabilities[np.arange(len(labels)), labels][:, None]
    before = np.arange(probabilities.shape[1])[None] < labels[:, None]
    rank = ((probabilities > own) | ((probabilities == own) & before)).sum(1)
    return float((rank < k).mean())


def per_class_results(confusion: I64, classes: Sequence[str]) -> tuple[ClassResult, ...]:
    """Precision, recall and F1 of every class."""
    hits, truth, said = np.diagonal(confusion), confusion.sum(1), confusion.sum(0)
    return tuple(
        ClassResult(name, _share(h, s), _share(h, t), _share(2 * h, t + s), int(t))
        for name, h, t, s in zip(classes, hits, truth, said, strict=True)
    )


def _share(part: np.int64, whole: np.int64) -> float | None:
    return float(part / whole) if whole else None


def evaluate_probabilities(probabilities: F32, labels: I64, classes: Sequence[str]) -> EvalResult:
    """Figures from probabilities float32 ``(n, classes)`` and true labels int64 ``(n,)``."""
    predicted = np.asarray(probabilities.argmax(1), np.int64)
    confusion = confusion_matrix(labels, predicted, len(classes))
    correct, n = int((predicted == labels).sum()), len(labels)
    return EvalResult(
        n=n,
        accuracy=correct / n if n else 0.0,
        interval=wilson(correct, n),
        top5=top_k(probabilities, labels, 5),
        per_class=per_class_results(confusion, classes),
        confusion=confusion,
    )
