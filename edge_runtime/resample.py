"""The one resize of imago ("imago-1"): antialiased, separable, in exact integer arithmetic.

1. Halving: while both sides are at least twice the target, 2×2 blocks become ``(a+b+c+d+2) >> 2``
   (an odd last row or column is left out).
2. The rest (less than 2:1, or enlarging): a triangle filter as wide as the scale, with weights in
   1/256 that sum to exactly 256, over rows and columns, rounded once at the end:
   ``(Σ Σ wv·wh·pixel + 2¹⁵) >> 16``.

Every intermediate is an integer below 2²⁴ (over a power of two), which float32 holds exactly in any order
of summation; so a BLAS matrix product gives the same bytes on x86-64 and aarch64, whatever its SIMD width.
OpenCV is used for step 1 where it is already loaded and, checked once per process, gives the same bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.types import F32, U8

Step = Callable[[U8], U8]
ONE = 256  # the sum of the weights of one output pixel
SMALL = 1 << 13  # values in a picture
BLOCK = 16  # output columns


@lru_cache(maxsize=64)
def triangle_weights(source: int, target: int) -> F32:
    """Weights ``(target, source)``, integers stored as float32, every row sums to 256.

    All integer arithmetic: with positions in units of ``1 / (2·target)``, source pixel j lies
    ``|(2j+1)·target − (2i+1)·source|`` from output pixel i and the filter reaches ``2·max(source, target)``.
    Largest-remainder rounding keeps the sum; ties go to the lower index.
    """
    reach = 2 * max(source, target)
    weights = np.zeros((target, source), np.float32)
    for i in range(target):
        centre = (2 * i + 1) * source
        first = max(0, (centre - reach) // (2 * target) - 1)
        last = min(source, (centre + reach) // (2 * target) + 2)
        raw = [max(0, reach - abs((2 * j + 1) * target - centre)) for j in range(first, last)]
        weights[i, first:last] = _apportion(raw)
    weights.flags.writeable = False
    return weights


def _apportion(raw: list[int]) -> list[int]:
    """Integers in proportion to ``raw`` that sum to ONE (largest remainder)."""
    total = sum(raw)
    shares = [ONE * value // total for value in raw]
    by_remainder = sorted(range(len(raw)), key=lambda k: (-(ONE * raw[k] % total), k))
    for k in by_remainder[: ONE - sum(shares)]:
        shares[k] += 1
    return shares


def resize(image: U8, width: int, height: int) -> U8:
    """Resize uint8 ``(H, W)`` or ``(H, W, C)`` to ``(height, width[, C])``.

    Returns a new array, or ``image`` itself where the size is right already.
    """
    for step in resizing(image.shape[0], image.shape[1], width, height):
        image = step(image)
    return image


def resizing(rows: int, columns: int, width: int, height: int, *, keep: bool = False) -> list[Step]:
    """The steps of ``resize`` for pictures of ``rows`` × ``columns``; none where the size is right.

    keep: halves are written into the same memory every time, and are good until the next picture.
    """
    steps: list[Step] = []
    while rows >= 2 * height and columns >= 2 * width:
        steps.append(_Halver() if keep else halve)
        rows, columns = rows // 2, columns // 2
    if (rows, columns) != (height, width):
        steps.append(partial(_filtered, width=width, height=height))
    return steps


def _filtered(image: U8, width: int, height: int) -> U8:
    """Step 2. Output pixels see four input pixels or so each way: small pictures are multiplied by whole
    matrices, which is one call; larger ones by what is not zero in them, a third of the time."""
    rows, columns = image.shape[:2]
    channels = image.shape[2] if image.ndim == 3 else 1
    sums = np.empty((height, width * channels), np.float32)
    if image.size < SMALL:
        down = triangle_weights(rows, height) @ image.reshape(rows, -1).astype(np.float32)
        blocks = _across(columns, width, channels, width)
    else:
        down = _down(image, height).astype(np.float32)
        blocks = _across(columns, width, channels, BLOCK)
    for source, target, weights in blocks:
        np.matmul(down[:, source], weights, out=sums[:, target])
    return _to_bytes(sums).reshape(height, width, *image.shape[2:])


def _down(image: U8, height: int) -> npt.NDArray[np.uint16]:
    """Weighted sums of rows, ``(height, W·C)``: at most 255 · 256, which uint16 holds."""
    parts = (
        np.multiply(image[row].reshape(height, -1), weight, dtype=np.uint16)
        for row, weight in _taps(image.shape[0], height)
    )
    total = next(parts)
    for part in parts:
        total += part
    return total


@lru_cache(maxsize=64)
def _taps(source: int, target: int) -> list[tuple[npt.NDArray[np.intp], npt.NDArray[np.uint16]]]:
    """``triangle_weights`` without zeros: per tap source rows ``(target,)`` and weights ``(target, 1)``."""
    weights = triangle_weights(source, target)
    first = (weights > 0).argmax(1)
    last = source - (weights[:, ::-1] > 0).argmax(1)
    count = int((last - first).max())
    rows = np.minimum(first, source - count)[:, None] + np.arange(count)
    values = np.take_along_axis(weights, rows, 1).astype(np.uint16)
    return [(rows[:, k].copy(), values[:, k : k + 1].copy()) for k in range(count)]


@lru_cache(maxsize=64)
def _across(source: int, target: int, channels: int, block: int) -> list[tuple[slice, slice, F32]]:
    """Weights for columns of interleaved channels, transposed, ``block`` output columns at a time.

    Each as (input values, output values, matrix between them); the final division by 2¹⁶ is in the matrix (a
    power of two: exact).
    """
    weights = triangle_weights(source, target).T * np.float32(1 / (ONE * ONE))
    each = np.eye(channels, dtype=np.float32)
    parts = []
    for left in range(0, target, block):
        own = weights[:, left : left + block]
        used = np.flatnonzero(own.any(1))
        low, high = int(used[0]), int(used[-1]) + 1
        outputs = slice(left * channels, (left + own.shape[1]) * channels)
        parts.append((slice(low * channels, high * channels), outputs, np.kron(own[low:high], each)))
    return parts


def _to_bytes(sums: Any) -> U8:
    sums += np.float32(0.5)
    pixels: U8 = sums.astype(np.uint8)
    return pixels


def halve(image: U8, out: U8 | None = None) -> U8:
    """Mean of 2×2 blocks, halves rounded up; an odd last row or column is left out.

    out: memory of the right shape that may be used for it.
    """
    rows, columns = image.shape[0] // 2, image.shape[1] // 2
    image = image[: 2 * rows, : 2 * columns]
    cv2 = accelerator()
    if cv2 is not None:
        return cv2.resize(image, (columns, rows), out, interpolation=cv2.INTER_AREA)  # type: ignore[no-any-return]
    return _halve_numpy(image)


class _Halver:
    """``halve`` into memory of its own, for pictures of one shape.

    Fresh memory for every frame costs as much as a third of the halving: it comes from the kernel, page by
    page.
    """

    def __init__(self) -> None:
        self._half: U8 | None = None

    def __call__(self, image: U8) -> U8:
        self._half = halve(image, self._half)
        return self._half


def _halve_numpy(image: U8) -> U8:
    """Colour plane by plane: an innermost axis of three costs 2.5 times as long."""
    pairs = np.add(image[0::2], image[1::2], dtype=np.uint16)
    if image.ndim == 2:
        return _means(pairs)
    half = np.empty((pairs.shape[0], pairs.shape[1] // 2, image.shape[2]), np.uint8)
    for channel in range(image.shape[2]):
        half[:, :, channel] = _means(pairs[:, :, channel])
    return half


def _means(pairs: npt.NDArray[np.uint16]) -> U8:
    """From sums of two rows to means of 2×2, halves rounded up."""
    sums = pairs[:, 0::2] + pairs[:, 1::2]
    sums += 2
    sums >>= 2
    return sums.astype(np.uint8)


# ITU-R BT.601 luma in 1/32768, OpenCV's own fixed-point weights: r, g, b; they sum to 32768.
LUMA = (9798, 19235, 3735)
BAND = 1 << 14  # pixels


def to_gray(image: U8, color: str) -> U8:
    """Grey picture ``(H, W)`` from an rgb or bgr one: ``(9798 R + 19235 G + 3735 B + 2¹⁴) >> 15``."""
    cv2 = accelerator()
    if cv2 is not None:
        code = cv2.COLOR_RGB2GRAY if color == "rgb" else cv2.COLOR_BGR2GRAY
        return cv2.cvtColor(image, code)  # type: ignore[no-any-return]
    return _gray_numpy(image, color)


def _gray_numpy(image: U8, color: str) -> U8:
    """A matrix product, exact as in ``resize``; in bands of rows, since floats take twelve bytes a pixel."""
    weights = np.array(LUMA if color == "rgb" else LUMA[::-1], np.float32) * np.float32(1 / (1 << 15))
    gray = np.empty(image.shape[:2], np.uint8)
    rows = max(1, BAND // max(1, image.shape[1]))
    for top in range(0, image.shape[0], rows):
        band = image[top : top + rows]
        gray[top : top + rows] = _to_bytes(band.astype(np.float32).reshape(-1, 3) @ weights).reshape(
            band.shape[:2]
        )
    return gray


def split_planes(image: U8, planes: Sequence[U8]) -> None:
    """Copy ``(H, W, 3)`` into three ``planes`` ``(H, W)``."""
    cv2 = accelerator()
    if cv2 is not None:
        cv2.split(image, planes)
        return
    for channel, plane in enumerate(planes):
        np.copyto(plane, image[:, :, channel])


_trusted: list[Any] = []  # once found it stays: every look-up touches memory the engine has just pushed out


def accelerator() -> Any:
    """OpenCV, where somebody has already loaded it and it gives the same bytes; else None.

    It is never imported here: a board that reads frames from the ISP saves its 18 MB.
    """
    if _trusted:
        return _trusted[0]
    cv2 = sys.modules.get("cv2")
    if cv2 is None or not hasattr(cv2, "INTER_AREA") or not _agrees(cv2):
        return None
    _trusted.append(cv2)
    return cv2


@lru_cache(maxsize=1)
def _agrees(cv2: Any) -> bool:
    """Compare OpenCV's halving and grey conversion with the definition, at sizes that reach its SIMD code."""
    seed = np.arange(3 * 66 * 134, dtype=np.uint64)
    noise = ((seed * 2654435761 + (seed >> 3) * 40503) >> 7).astype(np.uint8).reshape(66, 134, 3)
    for picture in (noise, noise[:, :, 0].copy(), noise[2:40, 4:60]):
        size = (picture.shape[1] // 2, picture.shape[0] // 2)
        if not np.array_equal(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), _halve_numpy(picture)):
            return False
    gray = cv2.cvtColor(noise, cv2.COLOR_RGB2GRAY), cv2.cvtColor(noise, cv2.COLOR_BGR2GRAY)
    return np.array_equal(gray[0], _gray_numpy(noise, "rgb")) and np.array_equal(
        gray[1], _gray_numpy(noise, "bgr")
    )
