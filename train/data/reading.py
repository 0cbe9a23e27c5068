"""Reading one picture of a split at training size: for the cache, and for sets too large for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.blas import one_blas_thread
from imago.edge_runtime.errors import DataError, InputError
from imago.edge_runtime.imageio import read_image
from imago.edge_runtime.preprocess import Preprocessor
from imago.edge_runtime.spec import InputSpec
from imago.edge_runtime.types import U8, Frame
from imago.train.data.shards import source
from imago.train.dataset import Split

LIGHT = 1 << 20  # bytes of a decoded picture that may wait to be resized


@dataclass(frozen=True)
class Failed:
    """A picture that could not be decoded."""

    path: str


class PictureReader:
    """Pictures of a split at training size, in two parts: ``decode`` in many threads, ``fit`` in one.

    Decoding is one long call. Resizing is twenty short ones, after each of which the interpreter's lock has
    to be had again: two threads that resize are hardly faster than one (0.23 instead of 0.25 ms a photo).
    """

    def __init__(self, root: Path, part: Split, spec: InputSpec) -> None:
        with contextlib.suppress(ImportError):
            import cv2  # noqa: F401 - decoding and resizing use it where it is loaded, to the same bytes
        self._root, self._part, self._spec = root, part, spec
        self._preprocessor = Preprocessor(spec)

    def decode(self, index: int) -> Frame | U8 | Failed:
        """The picture as it is in its file; a large one is resized at once, so that few bytes wait."""
        if self._part.images is not None:
            return Frame(image=self._part.images[index], color="gray")
        path = self._part.paths[index]
        try:
            frame = read_image(source(self._root, path), self._spec)
        except (InputError, OSError):
            return Failed(path)
        return frame if frame.image.nbytes <= LIGHT else self._preprocessor.pixels(frame)

    def fit(self, decoded: Frame | U8) -> U8:
        """uint8 ``(H, W, C)``."""
        return self._preprocessor.pixels(decoded) if isinstance(decoded, Frame) else decoded


def fitted(reader: PictureReader, decoded: Iterable[Frame | U8 | Failed], out: U8) -> list[str]:
    """Fit pictures into ``out`` ``(k, H, W, C)``; the paths of those that could not be decoded."""
    failed = []
    for target, picture in zip(out, decoded, strict=True):
        if isinstance(picture, Failed):
            failed.append(picture.path)
        else:
            target[:] = reader.fit(picture)
    return failed


def cannot_decode(root: Path, paths: Sequence[str]) -> DataError:
    """The error for pictures that are no pictures."""
    return DataError(
        "{n} pictures cannot be decoded: {names}; imago data check {path} says what is wrong with each: "
        "repair or remove them",
        n=len(paths),
        names=", ".join(paths[:5]) + (" …" if len(paths) > 5 else ""),
        path=root,
    )


class Streamed:
    """The pictures of a split that is too large for the cache: decoded whenever they are asked for.

    Looks like the cache's array uint8 ``(n, H, W, C)`` for what training asks of one: shape, length, and
    ``pictures[index]`` or ``pictures[array of indices]``, which gives the same bytes. Nothing is kept.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, root: Path, part: Split, spec: InputSpec, workers: int | None = None) -> None:
        self.root = root
        self.shape = (len(part), spec.height, spec.width, spec.channels)
        self._reader = PictureReader(root, part, spec)
        self._part = part
        self._pool = ThreadPoolExecutor(max(1, workers if workers is not None else os.cpu_count() or 1))

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """What the pictures would take in memory."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __getitem__(self, key: Any) -> U8:
        if isinstance(key, int | np.integer):
            only: U8 = self._several([range(len(self))[int(key)]])[0]
            return only
        if isinstance(key, slice):
            return self._several(list(range(len(self))[key]))
        chosen: npt.NDArray[Any] = np.asarray(key)
        indices = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
        return self._several([range(len(self))[int(index)] for index in indices])

    def _several(self, indices: list[int]) -> U8:
        out = np.empty((len(indices), *self.shape[1:]), np.uint8)
        with one_blas_thread():  # the threads are ours
            failed = fitted(self._reader, self._pool.map(self._reader.decode, indices), out)
        if failed:
            raise cannot_decode(self.root, failed)
        return out
