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
BLOCK = 12  # output pixels
Taps = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


@lru_cache(maxsize=256)  # training pictures come in many sizes
def triangle_taps(source: int, target: int) -> Taps:
    """Per output pixel the first input pixel it sees, ``(target,)``, and the weights from there on,
    ``(target, taps)``: integers, every row sums to 256.

    All integer arithmetic: with positions in units of ``1 / (2·target)``, source pixel j lies
    ``|(2j+1)·target − (2i+1)·source|`` from output pixel i and the filter reaches ``2·max(source, target)``.
    Largest-remainder rounding keeps the sum; ties go to the lower index.
    """
    reach = 2 * max(source, target)
    centre = (2 * np.arange(target, dtype=np.int64) + 1) * source
    low = np.maximum(0, (centre - reach) // (2 * target))
    high = np.minimum(source, (centre + reach) // (2 * target) + 1)
    count = int((high - low).max())
    first = np.minimum(low, source - count)
    at = first[:, None] + np.arange(count)
    raw = np.maximum(0, reach - np.abs((2 * at + 1) * target - centre[:, None]))
    total = raw.sum(1, keepdims=True)
    weights, remainders = np.divmod(ONE * raw, total)
    order = np.argsort(-remainders, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(count)[None], 1)
    weights += rank < ONE - weights.sum(1, keepdims=True)
    first.flags.writeable = weights.flags.writeable = False  # they are kept
    return first, weights


def triangle_weights(source: int, target: int) -> F32:
    """``triangle_taps`` as a matrix ``(target, source)``."""
    first, values = triangle_taps(source, target)
    weights = np.zeros((target, source), np.float32)
    np.put_along_axis(weights, first[:, None] + np.arange(values.shape[1]), values.astype(np.float32), 1)
    return weights


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
    matrices, which is one call; larger ones by what is not zero in them, a quarter of the time."""
    rows, columns = image.shape[:2]
    channels = image.shape[2] if image.ndim == 3 else 1
    small = image.size < SMALL
    pixels = image.reshape(rows, -1).astype(np.float32)
    down = np.empty((height, pixels.shape[1]), np.float32)
    for source, target, weights in _bands(rows, height, 1, height if small else BLOCK):
        np.matmul(weights.T, pixels[source], out=down[target])
    sums = np.empty((height, width * channels), np.float32)
    for source, target, weights in _bands(columns, width, channels, width if small else BLOCK):
        np.matmul(down[:, source], weights, out=sums[:, target])
    return _to_bytes(sums).reshape(height, width, *image.shape[2:])


@lru_cache(maxsize=256)  # of up to 200 kB
def _bands(source: int, target: int, channels: int, block: int) -> list[tuple[slice, slice, F32]]:
    """``triangle_weights`` for interleaved channels, transposed, ``block`` output pixels at a time.

    Each as (input values, output values, matrix between them), divided by ONE (a power of two: exact).
    """
    first, taps = triangle_taps(source, target)
    values = taps.astype(np.float32) * np.float32(1 / ONE)
    inputs, outputs = first[:, None] + np.arange(taps.shape[1]), np.arange(target)[:, None]
    bands = []
    for left in range(0, target, block):
        part = slice(left, min(left + block, target))
        low, high = int(first[left]), int(inputs[part.stop - 1, -1]) + 1
        own = np.zeros((high - low, channels, part.stop - left, channels), np.float32)
        for channel in range(channels):
            own[inputs[part] - low, channel, outputs[part] - left, channel] = values[part]
        inside, outside = (slice(channels * a, channels * b) for a, b in ((low, high), (left, part.stop)))
        bands.append((inside, outside, own.reshape((high - low) * channels, -1)))
    return bands


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
