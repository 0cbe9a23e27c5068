"""From a camera's pixel format to a frame's pixels; views where nothing has to be computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from imago.edge_runtime.resample import accelerator
from imago.edge_runtime.types import U8, Color

# fourcc → how many times as dear as a plain grey byte, per pixel: reading it, and making colours of it.
COST_GRAY = {
    "GREY": 1.0,
    "NV12": 1.0,
    "NV21": 1.0,
    "YU12": 1.0,
    "YUYV": 1.5,
    "UYVY": 1.5,
    "MJPG": 6.0,
    "JPEG": 6.0,
}
COST_COLOR = {"RGB3": 2.0, "BGR3": 2.0, "NV12": 4.0, "NV21": 4.0, "YU12": 4.0, "YUYV": 4.0, "UYVY": 4.0}
COST_COLOR |= {
    "MJPG": 8.0,
    "JPEG": 8.0,
    "GREY": 20.0,
}  # grey for a colour model: only where there is nothing else
STRETCH = np.clip((np.arange(256) - 16) * 255 / 219 + 0.5, 0, 255).astype(np.uint8)
COMPRESSED = ("MJPG", "JPEG")


def luma(fourcc: str, data: U8, width: int, height: int, stride: int) -> U8 | None:
    """The grey picture ``(height, width)`` as a view into ``data``; None where there is none to be had so."""
    if fourcc in ("GREY", "NV12", "NV21", "YU12"):
        return data[: height * stride].reshape(height, stride)[:, :width]
    if fourcc in ("YUYV", "UYVY"):
        rows = data[: height * stride].reshape(height, stride)[:, : 2 * width]
        return rows[:, 0 if fourcc == "YUYV" else 1 :: 2]
    return None


def color(fourcc: str, data: U8, width: int, height: int, stride: int) -> tuple[U8, Color] | None:
    """The colour picture ``(height, width, 3)``; a view for RGB3 and BGR3, new memory for the YUV formats."""
    if fourcc in ("RGB3", "BGR3"):
        rows = data[: height * stride].reshape(height, stride)[:, : 3 * width]
        return rows.reshape(height, width, 3), "rgb" if fourcc == "RGB3" else "bgr"
    if fourcc in ("YUYV", "UYVY"):
        rows = data[: height * stride].reshape(height, stride)[:, : 2 * width]
        return _converted(fourcc, np.ascontiguousarray(rows).reshape(height, width, 2))
    if fourcc in ("NV12", "NV21"):
        planes = data[: height * stride * 3 // 2].reshape(height * 3 // 2, stride)[:, :width]
        return _converted(fourcc, planes)
    if fourcc == "YU12" and stride == width:
        return _converted(fourcc, data[: height * width * 3 // 2].reshape(height * 3 // 2, width))
    return None


def stretched(gray: U8) -> U8:
    """Y of 16…235 as grey of 0…255 (new memory): what a JPEG photo of the same scene would hold."""
    cv2 = accelerator()
    if cv2 is not None:
        return cv2.LUT(np.ascontiguousarray(gray), STRETCH)  # type: ignore[no-any-return]
    return STRETCH[gray]


def _converted(fourcc: str, packed: U8) -> tuple[U8, Color]:
    cv2 = _cv2()
    if cv2 is None:
        return _numpy_rgb(*_planes(fourcc, packed)), "rgb"
    codes = {"YUYV": "YUY2", "UYVY": "UYVY", "NV12": "NV12", "NV21": "NV21", "YU12": "I420"}
    code = getattr(cv2, f"COLOR_YUV2BGR_{codes[fourcc]}")
    return cv2.cvtColor(np.ascontiguousarray(packed), code), "bgr"


def _cv2() -> Any:
    try:
        import cv2
    except ImportError:
        return None
    return cv2


def _planes(fourcc: str, packed: U8) -> tuple[U8, U8, U8]:
    """Y in full and U, V at half the width (and height), as they are stored."""
    if packed.ndim == 3:
        first = 0 if fourcc == "YUYV" else 1
        chroma = packed[:, :, 1 - first]
        return packed[:, :, first], chroma[:, 0::2], chroma[:, 1::2]
    height = packed.shape[0] * 2 // 3
    width = packed.shape[1]
    if fourcc == "YU12":
        rest = packed[height:].reshape(2, height // 2, width // 2)
        return packed[:height], rest[0], rest[1]
    pairs = packed[height:].reshape(height // 2, width // 2, 2)
    u, v = (0, 1) if fourcc == "NV12" else (1, 0)
    return packed[:height], pairs[:, :, u], pairs[:, :, v]


def _numpy_rgb(y: U8, u: U8, v: U8) -> U8:
    """ITU-R BT.601, limited range, in 20-bit fixed point (OpenCV's own numbers)."""
    grow: Callable[[U8], Any] = lambda c: np.repeat(  # noqa: E731
        np.repeat(c, y.shape[0] // c.shape[0], 0), y.shape[1] // c.shape[1], 1
    ).astype(np.int32)
    luma_ = np.maximum(y.astype(np.int32) - 16, 0) * 1220542
    d, e = grow(u) - 128, grow(v) - 128
    half = 1 << 19
    out = np.empty((*y.shape, 3), np.uint8)
    for channel, add in enumerate((1673527 * e, -852492 * e - 409993 * d, 2116026 * d)):
        out[..., channel] = np.clip((luma_ + add + half) >> 20, 0, 255)
    return out
