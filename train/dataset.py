"""The data set as one immutable value: classes, and for each split its pictures and labels.

This is the seam between the data room (``imago.train.data``) and everything that reads pictures:
the cache, training, calibration, evaluation. No torch here: a board evaluates a model with it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.types import U8

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class DataOptions:
    """How a data set is read. The one source of these defaults for CLI, page and API.

    split_file: CSV with columns ``path,class,split`` (others ignored); overrides what folders say.
    val_fraction: share of the training pictures held out for validation where the set has no
    validation split of its own. test_fraction: the same for test, where there is no split at all.
    split_seed: seed of the stratified split (independent of the training seed).
    """

    split_file: Path | None = None
    val_fraction: float = 0.1
    test_fraction: float = 0.15
    split_seed: int = 0


@dataclass(frozen=True, eq=False)
class Split:
    """Pictures and labels of one split, in a fixed order.

    labels: int64 ``(n,)``. paths: ``n`` paths relative to the data set's root, ``/`` as separator;
    or images: uint8 ``(n, H, W)`` where the set is an idx file and the pictures are already in memory.
    digests: uint8 ``(n, 16)``, hashes of the files' contents, where they are known.
    """

    labels: npt.NDArray[np.int64]
    paths: tuple[str, ...] = ()
    images: U8 | None = None
    digests: npt.NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set on disk. ``classes`` in index order; ``notes`` says in plain sentences what was decided."""

    root: Path
    layout: str
    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    fingerprint: str
    generated: bool = False
    notes: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.root.resolve().name
