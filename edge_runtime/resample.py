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
from functools import lru_cache
from typing import Any

import numpy as np

from imago.edge_runtime.types import F32, U8

ONE = 256  # the sum of the weights of one output pixel


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


@lru_cache(maxsize=64)
def _across(source: int, target: int) -> F32:
    """Weights for columns, transposed, with the final division by 2¹⁶ in them (a power of two: exact)."""
    weights = np.ascontiguousarray(triangle_weights(source, target).T * np.float32(1 / (ONE * ONE)))
    weights.flags.writeable = False
    return weights


def resize(image: U8, width: int, height: int) -> U8:
    """Resize uint8 ``(H, W)`` or ``(H, W, C)`` to ``(height, width[, C])``.

    Returns a new array, or ``image`` itself where the size is right already.
    """
    while image.shape[0] >= 2 * height and image.shape[1] >= 2 * width:
        image = halve(image)
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return image
    down, across = triangle_weights(rows, height), _across(columns, width)
    if image.ndim == 2:
        return _to_bytes(down @ image.astype(np.float32) @ across)
    # Planes first: three plain matrix products instead of one with an inner stride of C.
    planes = image.transpose(2, 0, 1).astype(np.float32, order="C")
    return np.ascontiguousarray(_to_bytes(down @ planes @ across).transpose(1, 2, 0))


def _to_bytes(sums: Any) -> U8:
    sums += np.float32(0.5)
    pixels: U8 = sums.astype(np.uint8)
    return pixels


def halve(image: U8) -> U8:
    """Mean of 2×2 blocks, halves rounded up; an odd last row or column is left out."""
    rows, columns = image.shape[0] // 2, image.shape[1] // 2
    image = image[: 2 * rows, : 2 * columns]
    cv2 = accelerator()
    if cv2 is not None:
        return cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)  # type: ignore[no-any-return]
    return _halve_numpy(image)


def _halve_numpy(image: U8) -> U8:
    pairs = image[0::2].astype(np.uint16)
    pairs += image[1::2]
    sums = pairs[:, 0::2] + pairs[:, 1::2]
    sums += 2
    sums >>= 2
    return sums.astype(np.uint8)


# ITU-R BT.601 luma in 1/32768, OpenCV's own fixed-point weights: r, g, b; they sum to 32768.
LUMA = (9798, 19235, 3735)
BAND = 1 << 15  # pixels


def to_gray(image: U8, color: str) -> U8:
    """Grey picture ``(H, W)`` from an rgb or bgr one: ``(9798 R + 19235 G + 3735 B + 2¹⁴) >> 15``."""
    cv2 = accelerator()
    if cv2 is not None:
        code = cv2.COLOR_RGB2GRAY if color == "rgb" else cv2.COLOR_BGR2GRAY
        return cv2.cvtColor(image, code)  # type: ignore[no-any-return]
    return _gray_numpy(image, color)


def _gray_numpy(image: U8, color: str) -> U8:
    """In bands of rows: the sums of a whole 640×480 picture would take 2.5 MB."""
    weights = LUMA if color == "rgb" else LUMA[::-1]
    gray = np.empty(image.shape[:2], np.uint8)
    rows = max(1, BAND // max(1, image.shape[1]))
    for top in range(0, image.shape[0], rows):
        band = image[top : top + rows]
        sums = band[..., 0] * np.uint32(weights[0])
        sums += band[..., 1] * np.uint32(weights[1])
        sums += band[..., 2] * np.uint32(weights[2])
        sums += np.uint32(1 << 14)
        sums >>= np.uint32(15)
        gray[top : top + rows] = sums
    return gray


def split_planes(image: U8, out: U8) -> None:
    """Copy ``(H, W, 3)`` into ``out`` ``(3, H, W)``."""
    cv2 = accelerator()
    if cv2 is None:
        np.copyto(out, image.transpose(2, 0, 1))
    else:
        cv2.split(image, [out[0], out[1], out[2]])


def accelerator() -> Any:
    """OpenCV, where somebody has already loaded it and it gives the same bytes; else None.

    It is never imported here: a board that reads frames from the ISP saves its 18 MB.
    """
    cv2 = sys.modules.get("cv2")
    return cv2 if cv2 is not None and hasattr(cv2, "INTER_AREA") and _agrees(cv2) else None


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
