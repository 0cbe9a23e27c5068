"""The one preprocessing function: a frame becomes the model's input.

Training cache, validation, calibration, export verification and the board all call this; no other
path has a resize of its own. The order of steps:

1. colour → grey, where the model is grey;
2. fit (``InputSpec.fit``):
   *center-crop*: the largest centred window of the input's aspect ratio; where a whole power of two
   of the input size covers at least 7/8 of it, that slightly tighter window (then shrinking is exact
   2×2 means and nothing else: sharper, and three times as fast for 480 → 224);
   *letterbox*: the whole frame, borders of ``pad``; *stretch*: the whole frame, aspect ratio ignored;
3. resize (``resample``);
4. channel order and layout; mean/std only for foreign float models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.resample import Step, resizing, split_planes, to_gray
from imago.edge_runtime.spec import InputSpec
from imago.edge_runtime.types import U8, Frame

PREPROCESS_VERSION = "imago-1"  # part of every cache key: other bytes, other name
TIGHTEST_CROP = 7 / 8  # the usual margin of a centre crop


@dataclass(frozen=True, slots=True)
class Window:
    """Part of the frame that is used, and the part of the input that it fills (pixels)."""

    left: int
    top: int
    width: int
    height: int
    out_width: int
    out_height: int


def window(spec: InputSpec, width: int, height: int) -> Window:
    """Where a frame of ``width`` × ``height`` is cut, and how large it becomes, under ``spec.fit``."""
    if spec.fit == "stretch":
        return Window(0, 0, width, height, spec.width, spec.height)
    if spec.fit == "letterbox":
        inside = min(spec.width / width, spec.height / height)
        fit_width = min(spec.width, max(1, int(width * inside + 0.5)))
        fit_height = min(spec.height, max(1, int(height * inside + 0.5)))
        return Window(0, 0, width, height, fit_width, fit_height)
    crop_width, crop_height = _crop(spec, width, height)
    left, top = (width - crop_width) // 2, (height - crop_height) // 2
    return Window(left, top, crop_width, crop_height, spec.width, spec.height)


def _crop(spec: InputSpec, width: int, height: int) -> tuple[int, int]:
    if width * spec.height >= height * spec.width:
        crop = max(1, height * spec.width // spec.height), height
    else:
        crop = width, max(1, width * spec.height // spec.width)
    factor = 1
    while 2 * factor * spec.width <= crop[0] and 2 * factor * spec.height <= crop[1]:
        factor *= 2
    tight = factor * spec.width, factor * spec.height
    fits = all(TIGHTEST_CROP * whole <= cut <= whole for cut, whole in zip(tight, crop, strict=True))
    return tight if fits else crop


class Preprocessor:
    """``InputSpec`` turned into a function of frames.

    ``tensor`` works out the steps for one shape and colour of frames once, since a camera's frames are alike,
    and keeps their memory: it is not for several threads at once.
    """

    def __init__(self, spec: InputSpec) -> None:
        self.spec = spec
        self._mean = np.asarray(spec.mean or (0.0,), np.float32)
        self._std = np.asarray(spec.std or (1.0,), np.float32)
        self._steps: list[Callable[[U8], Any]] = []
        self._steps_for: tuple[tuple[int, ...], str] | None = None
        self._out: npt.NDArray[np.generic] | None = None

    def pixels(self, frame: Frame) -> U8:
        """uint8 ``(height, width, channels)`` in ``spec.color`` order: what the training cache stores."""
        image = frame.image
        for step in self._fitting(image.shape, frame.color):
            image = step(image)
        return self._ordered(image, frame.color)

    def tensor(self, frame: Frame, out: npt.NDArray[np.generic] | None = None) -> npt.NDArray[np.generic]:
        """The input tensor: ``spec.shape``, ``spec.dtype``. Written into ``out`` where one is given."""
        if out is None:
            out = np.empty(self.spec.shape, self.spec.dtype)
        image: Any = frame.image
        if self._out is not out or self._steps_for != (image.shape, frame.color):
            self._steps = [*self._fitting(image.shape, frame.color, keep=True), self._into(out, frame.color)]
            self._out, self._steps_for = out, (image.shape, frame.color)
        for step in self._steps:
            image = step(image)
        return out

    def _fitting(self, shape: tuple[int, ...], color: str, *, keep: bool = False) -> list[Step]:
        """Steps that cut and resize a frame: ``(H, W)`` grey, or ``(H, W, 3)`` in the frame's own order."""
        spec = self.spec
        w = window(spec, shape[1], shape[0])
        steps: list[Step] = []
        if (w.height, w.width) != shape[:2]:
            steps.append(itemgetter(np.s_[w.top : w.top + w.height, w.left : w.left + w.width]))
        if spec.channels == 1 and color != "gray":
            steps.append(partial(to_gray, color=color))
        steps += resizing(w.height, w.width, w.out_width, w.out_height, keep=keep)
        if (w.out_width, w.out_height) != spec.size:
            steps.append(self._bordered)
        return steps

    def _into(self, out: npt.NDArray[np.generic], color: str) -> Callable[[U8], object]:
        """The last step: pixels of the right size go into the tensor, ``(H, W)`` or ``(H, W, 3)``."""
        spec, target = self.spec, out[0]
        if spec.dtype == "float32":
            return partial(self._normalise, target, color)
        planes: Any = target if spec.layout == "nchw" else target.transpose(2, 0, 1)
        if spec.channels == 1 or color == "gray":
            return partial(np.copyto, planes)  # one plane, or the same three times over
        if color != spec.color:
            planes = planes[::-1]
        if spec.layout == "nchw":
            return partial(split_planes, planes=tuple(planes))
        return partial(np.copyto, planes.transpose(1, 2, 0))

    def _normalise(self, target: npt.NDArray[np.generic], color: str, image: U8) -> None:
        """Foreign float models: ``(pixel - mean) / std`` per channel, in float32."""
        values = (self._ordered(image, color).astype(np.float32) - self._mean) / self._std
        np.copyto(target, values.transpose(2, 0, 1) if self.spec.layout == "nchw" else values)

    def _ordered(self, image: U8, color: str) -> U8:
        """``(H, W)`` or ``(H, W, 3)`` as ``(H, W, channels)`` in ``spec.color`` order."""
        if self.spec.channels == 1:
            return image[:, :, None]
        if image.ndim == 2:
            return np.repeat(image[:, :, None], 3, axis=2)
        return image if color == self.spec.color else np.ascontiguousarray(image[:, :, ::-1])

    def _bordered(self, image: U8) -> U8:
        spec = self.spec
        canvas = np.full((spec.height, spec.width, *image.shape[2:]), spec.pad, np.uint8)
        top, left = (spec.height - image.shape[0]) // 2, (spec.width - image.shape[1]) // 2
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
        return canvas
