"""Real pictures for calibration and for the gate, as the board's preprocessing makes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.errors import DataError
from imago.edge_runtime.spec import ModelSpec
from imago.edge_runtime.types import U8
from imago.train.data.cache import CachedSplit, open_cache
from imago.train.dataset import Dataset


@dataclass(frozen=True, eq=False, slots=True)
class Pictures:
    """uint8 ``(n, H, W, C)`` at input size, and labels int64 ``(n,)`` in the model's label order."""

    images: U8
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def tensors(self, layout: str) -> U8:
        """All pictures as input tensors, one per row: ``(n, C, H, W)`` or ``(n, H, W, C)``."""
        return np.ascontiguousarray(self.images.transpose(0, 3, 1, 2)) if layout == "nchw" else self.images


def pictures(dataset: Dataset, split: str, spec: ModelSpec, count: int = 0, seed: int = 0) -> Pictures:
    """``count`` pictures of a split (0: all), classes in turn, so that every class is seen early.

    Raises DataError where the data set's classes are not the model's.
    """
    if dataset.classes != spec.labels:
        raise DataError(
            "the classes of {data} ({found}) are not those of the model ({wanted}); "
            "give the data set that the model was trained on",
            data=dataset.name,
            found=_few(dataset.classes),
            wanted=_few(spec.labels),
        )
    if split not in dataset.splits or len(dataset.splits[split]) == 0:
        raise DataError("{data} has no {split} pictures", data=dataset.name, split=split)
    cached: CachedSplit = open_cache(dataset, split, spec.input)
    order = _in_turn(cached.labels, seed)[: count or None]
    return Pictures(np.array(cached.images[order]), cached.labels[order])


def _in_turn(labels: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """Indices such that the first k hold about equally many of every class."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    rank = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        rank[members] = np.arange(len(members))
    return shuffled[np.argsort(rank[shuffled], kind="stable")]


def _few(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown}, … ({len(names)})"
