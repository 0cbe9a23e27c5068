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

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.resample import resize, split_planes, to_gray
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
    """``InputSpec`` turned into a function of frames; keeps no state between frames."""

    def __init__(self, spec: InputSpec) -> None:
        self.spec = spec
        self._float = spec.dtype == "float32"
        self._mean = np.asarray(spec.mean or (0.0,), np.float32)
        self._std = np.asarray(spec.std or (1.0,), np.float32)
        self._windows: dict[tuple[int, ...], Window] = {}

    def pixels(self, frame: Frame) -> U8:
        """uint8 ``(height, width, channels)`` in ``spec.color`` order: what the training cache stores."""
        spec = self.spec
        image, color = self._fitted(frame)
        if spec.channels == 1:
            return image[:, :, None]
        if color == "gray":
            return np.repeat(image[:, :, None], 3, axis=2)
        return image if color == spec.color else np.ascontiguousarray(image[:, :, ::-1])

    def tensor(self, frame: Frame, out: npt.NDArray[np.generic] | None = None) -> npt.NDArray[np.generic]:
        """The input tensor: ``spec.shape``, ``spec.dtype``. Written into ``out`` where one is given."""
        if out is None:
            out = np.empty(self.spec.shape, self.spec.dtype)
        if self._float:
            self._normalised(frame, out)
        else:
            self._raw(frame, out)
        return out

    def _raw(self, frame: Frame, out: npt.NDArray[np.generic]) -> None:
        spec = self.spec
        image, color = self._fitted(frame)
        if spec.channels == 1:
            out[0, 0 if spec.layout == "nchw" else slice(None)] = (
                image if spec.layout == "nchw" else image[:, :, None]
            )
        elif spec.layout == "nhwc":
            source = image[:, :, None] if color == "gray" else image
            np.copyto(out[0], source if color in ("gray", spec.color) else source[:, :, ::-1])
        elif color == "gray":
            np.copyto(out[0], image[None])
        else:
            planes = out[0] if color == spec.color else out[0, ::-1]
            split_planes(image, planes)  # type: ignore[arg-type]

    def _normalised(self, frame: Frame, out: npt.NDArray[np.generic]) -> None:
        """Foreign float models: ``(pixel - mean) / std`` per channel, in float32."""
        values = (self.pixels(frame).astype(np.float32) - self._mean) / self._std
        np.copyto(out[0], values.transpose(2, 0, 1) if self.spec.layout == "nchw" else values)

    def _fitted(self, frame: Frame) -> tuple[U8, str]:
        """The frame cut and resized: ``(H, W)`` grey or ``(H, W, 3)``, with its colour order."""
        spec, image, color = self.spec, frame.image, frame.color
        w = self._window(image.shape)
        image = image[w.top : w.top + w.height, w.left : w.left + w.width]
        if spec.channels == 1 and color != "gray":
            image, color = to_gray(image, color), "gray"
        image = resize(image, w.out_width, w.out_height)
        if (w.out_width, w.out_height) != spec.size:
            image = self._bordered(image)
        return image, color

    def _window(self, shape: tuple[int, ...]) -> Window:
        found = self._windows.get(shape)
        if found is None:
            if len(self._windows) >= 64:  # folders of photos have many shapes; a camera has one
                self._windows.clear()
            found = self._windows[shape] = window(self.spec, shape[1], shape[0])
        return found

    def _bordered(self, image: U8) -> U8:
        spec = self.spec
        canvas = np.full((spec.height, spec.width, *image.shape[2:]), spec.pad, np.uint8)
        top, left = (spec.height - image.shape[0]) // 2, (spec.width - image.shape[1]) // 2
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
        return canvas
