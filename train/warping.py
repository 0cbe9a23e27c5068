"""Moving pixels on a CPU: OpenCV on uint8, picture by picture or many small ones as one tall picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imago.edge_runtime.errors import MissingDependency
from imago.edge_runtime.types import F32, U8
from imago.train.augment import Draw, grid_of, pixel_matrices

LARGE = 4096  # bytes of a picture from which threads and one call per picture pay
TALLEST = 32_000  # OpenCV addresses rows with 16 bits


@dataclass(frozen=True, eq=False, slots=True)
class Warp:
    """One batch of large pictures: from ``images[where]`` through ``maps`` into ``pixels``, or with
    ``tables`` on into ``floats``.

    images: uint8 ``(n, H, W, C)``. maps: float64 matrices ``(B, 2, 3)`` or positions float32
    ``(B, 2, H, W)``. tables: float32 ``(B, 256, 1, C)``, what becomes of every pixel value (``tables_of``).
    """

    images: U8
    where: list[int]
    maps: npt.NDArray[np.generic]
    pixels: U8
    mirror_edges: bool
    tables: F32 | None = None
    floats: F32 | None = None

    def run(self, pictures: Iterator[int]) -> None:
        """Do those ``pictures`` of the batch that no other thread takes from the same iterator.

        OpenCV warps four channels faster than three (74 instead of 114 µs at 128×128, the same bytes). The
        loop is as bare as it is because the interpreter's lock changes hands at each call.
        """
        cv2 = opencv()
        widen, table = cv2.cvtColor, cv2.LUT
        to_four, to_three = cv2.COLOR_RGB2RGBA, cv2.COLOR_RGBA2RGB
        move = self._mover()
        images, where, maps, pixels = self.images, self.where, self.maps, self.pixels
        height, width, channels = pixels.shape[1:]
        four, moved = np.empty((2, height, width, 4), np.uint8)
        scratch = np.empty((height, width, channels), np.uint8)
        for k in pictures:
            target = pixels[k] if self.tables is None else scratch
            if channels == 3:
                widen(images[where[k]], to_four, four)
                move(four, maps[k], moved)
                widen(moved, to_three, target)
            else:
                move(images[where[k]], maps[k], target)
            if self.tables is not None and self.floats is not None:
                table(target, self.tables[k], self.floats[k])

    def _mover(self) -> Callable[[U8, npt.NDArray[np.generic], U8], object]:
        cv2 = opencv()
        warp, remap, linear = cv2.warpAffine, cv2.remap, cv2.INTER_LINEAR
        flags = linear | cv2.WARP_INVERSE_MAP
        border = cv2.BORDER_REFLECT if self.mirror_edges else cv2.BORDER_REPLICATE
        size = (self.pixels.shape[2], self.pixels.shape[1])
        if self.maps.ndim == 3:
            return lambda source, matrix, out: warp(source, matrix, size, out, flags, border)
        return lambda source, at, out: remap(source, at[0], at[1], linear, out, border)


def tables_of(gain: Tensor, offset: Tensor, count: int) -> F32:
    """``pixel · gain + offset`` for all 256 pixel values of ``count`` pictures: float32 ``(B, 256, 1, C)``.

    gain, offset: ``(B, C, 1, 1)``, or ``(1, C, 1, 1)`` for all alike.
    """
    values = np.arange(256, dtype=np.float32)
    gains, offsets = (v.expand(count, -1, -1, -1).numpy()[:, :, 0] for v in (gain, offset))
    tables = np.empty((count, 256, 1, gain.shape[1]), np.float32)
    for channel in range(gain.shape[1]):  # an innermost axis of three costs 2.5 times as long
        tables[:, :, 0, channel] = gains[:, channel] * values + offsets[:, channel]
    return tables


def maps_of(changes: Draw, width: int, height: int) -> npt.NDArray[np.generic]:
    """For OpenCV: float64 matrices ``(B, 2, 3)``, or with bends float32 pixel positions ``(B, 2, H, W)``."""
    if changes.matrices is None:
        raise ValueError("nothing moves in this draw")
    if changes.bends is None:
        return pixel_matrices(changes.matrices, width, height)
    return _positions(changes, width, height).numpy()


def _positions(changes: Draw, width: int, height: int) -> Tensor:
    if changes.matrices is None:
        raise ValueError("nothing moves in this draw")
    grid = grid_of(changes.matrices, changes.bends, height, width)
    side = torch.tensor([width, height])[:, None, None]
    return grid.add_(1).mul_(side / 2).sub_(0.5)


def warp_small(images: U8, changes: Draw, *, mirror_edges: bool) -> U8:
    """A batch of small pictures ``(B, H, W, C)`` as one tall picture, in one call of OpenCV.

    Positions are mirrored or clamped into their own picture first, which is what a border does.
    """
    count, height, width, _ = images.shape
    where = _positions(changes, width, height)
    sides = torch.tensor([width, height])[:, None, None]
    if mirror_edges:  # … 1 0 | 0 1 2 … as BORDER_REFLECT has it, for any distance
        where = torch.remainder(where + 0.5, 2 * sides)
        where = torch.minimum(where, 2 * sides - where) - 0.5
    where = torch.minimum(where.clamp_(min=0), (sides - 1).float())
    each = max(1, TALLEST // height)
    parts = [_tall(images[k : k + each], where[k : k + each]) for k in range(0, count, each)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _tall(images: U8, where: Tensor) -> U8:
    cv2 = opencv()
    count, height, width, channels = images.shape
    where[:, 1] += (torch.arange(count) * height)[:, None, None]
    across = where[:, 0].reshape(count * height, width).numpy()
    down = where[:, 1].reshape(count * height, width).numpy()
    tall = images.reshape(count * height, width, channels)
    moved: U8 = cv2.remap(tall, across, down, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    return moved.reshape(images.shape)


def opencv() -> Any:
    """The module cv2. Raises MissingDependency."""
    try:
        import cv2
    except ImportError as error:
        raise MissingDependency(
            "training needs opencv-python-headless: pip install 'imago-edge[train]'"
        ) from error
    return cv2
