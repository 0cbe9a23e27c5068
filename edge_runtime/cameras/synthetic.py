"""A moving test picture that is the same everywhere: for tests, for trying, for boards without a camera."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from imago.edge_runtime.cameras.base import Size
from imago.edge_runtime.cameras.pace import Pace
from imago.edge_runtime.messages import tr
from imago.edge_runtime.types import U8, Frame


class SyntheticSource:
    """A bright disc that circles on a coloured gradient; endless, rgb.

    size: ``(width, height)``. fps: None: as fast as they are taken, 30 where ``live``.
    """

    def __init__(self, size: Size = (640, 480), *, fps: float | None = None, live: bool = False) -> None:
        self.live = live
        self.description = tr("synthetic test picture, {width}×{height}", width=size[0], height=size[1])
        self._size = size
        self._pace = Pace(fps or (30.0 if live else None))
        self._background = _gradient(size)

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while self._pace.wait(index):
            yield Frame(self.picture(index), "rgb", time.monotonic_ns(), index)
            index += 1

    def picture(self, index: int) -> U8:
        """Frame ``index``, uint8 ``(height, width, 3)``; depends on the index alone."""
        width, height = self._size
        image = self._background.copy()
        radius = max(1, min(width, height) // 8)
        angle = 2 * np.pi * (index % 120) / 120
        x = int(width / 2 + width / 4 * np.cos(angle))
        y = int(height / 2 + height / 4 * np.sin(angle))
        top, left = max(0, y - radius), max(0, x - radius)
        patch = image[top : y + radius, left : x + radius]
        rows = np.arange(top, top + patch.shape[0])[:, None] - y
        columns = np.arange(left, left + patch.shape[1])[None] - x
        patch[rows * rows + columns * columns < radius * radius] = (250, 220, 40)
        return image

    def close(self) -> None:
        """See ``Source.close``."""
        self._pace.close()


def _gradient(size: Size) -> U8:
    width, height = size
    image = np.empty((height, width, 3), np.uint8)
    image[..., 0] = (np.arange(width) * 160 // width)[None]
    image[..., 1] = (np.arange(height) * 160 // height)[:, None]
    image[..., 2] = 96
    return image
