"""Moving pixels on a CPU: OpenCV on uint8, picture by picture, or many small ones as one tall picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imago.edge_runtime.errors import MissingDependency
from imago.edge_runtime.types import U8
from imago.train.augment import Draw, grid_of, pixel_matrices

LARGE = 4096  # bytes of a picture from which threads and one call per picture pay
SERIAL = 32_767  # elements up to which a torch operation starts no threads of its own
TALLEST = 32_000  # OpenCV addresses rows with 16 bits


@dataclass(frozen=True, eq=False, slots=True)
class Warp:
    """One batch of large pictures: from ``images[where]`` through ``maps`` into ``pixels``, and on into
    ``floats`` as ``pixel · gain + offset``.

    images: uint8 ``(n, H, W, C)``. maps: float64 matrices ``(B, 2, 3)`` or float32 positions ``(B, 2, H, W)``.
    gain, offset: float32 ``(B, C)``, or None where the caller converts.
    """

    images: U8
    where: list[int]
    maps: npt.NDArray[np.generic]
    pixels: U8
    mirror_edges: bool
    gain: Tensor | None = None
    offset: Tensor | None = None
    floats: Tensor | None = None

    def run(self, part: range) -> None:
        """Do the pictures ``part`` of the batch."""
        height, width, channels = self.pixels.shape[1:]
        # OpenCV warps four channels faster than three (74 instead of 114 µs at 128×128, the same bytes).
        wide = np.empty((2, height, width, 4), np.uint8) if channels == 3 else None
        for k in part:
            self._warped(self.images[self.where[k]], self.maps[k], self.pixels[k], wide)
            if self.floats is not None:
                self._converted(k)

    def _warped(self, source: U8, maps: npt.NDArray[np.generic], target: U8, wide: U8 | None) -> None:
        cv2 = opencv()
        border = cv2.BORDER_REFLECT if self.mirror_edges else cv2.BORDER_REPLICATE
        read, written = source, target
        if wide is not None:
            read, written = wide[0], wide[1]
            cv2.cvtColor(source, cv2.COLOR_RGB2RGBA, read)
        if maps.ndim == 2:
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            cv2.warpAffine(read, maps, (target.shape[1], target.shape[0]), written, flags, border)
        else:
            cv2.remap(read, maps[0], maps[1], cv2.INTER_LINEAR, written, border)
        if wide is not None:
            cv2.cvtColor(written, cv2.COLOR_RGBA2RGB, target)

    def _converted(self, k: int) -> None:
        """Row-wise, while the picture is in the core's cache."""
        if self.floats is None or self.gain is None or self.offset is None:
            return
        height, width, channels = self.pixels.shape[1:]
        source = torch.from_numpy(self.pixels[k]).view(height, width * channels)
        target = self.floats[k].view(height, width * channels)
        gain, offset = self.gain[k].repeat(width), self.offset[k].repeat(width)
        rows = max(1, SERIAL // (width * channels))
        for top in range(0, height, rows):
            block = target[top : top + rows]
            torch.addcmul(offset, block.copy_(source[top : top + rows]), gain, out=block)


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
