"""Convolution and pooling on one map, step by step. As in networks, the kernel is not turned around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.types import F32, U8

Kernel = tuple[tuple[float, ...], ...]

# Known kernels of image processing; names are keys of the catalogue.
PRESETS: dict[str, Kernel] = {
    "vertical edges": ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)),
    "horizontal edges": ((-1, -2, -1), (0, 0, 0), (1, 2, 1)),
    "all edges": ((-1, -1, -1), (-1, 8, -1), (-1, -1, -1)),
    "blur": ((1 / 9, 1 / 9, 1 / 9),) * 3,
    "sharpen": ((0, -1, 0), (-1, 5, -1), (0, -1, 0)),
    "emboss": ((-2, -1, 0), (-1, 1, 1), (0, 1, 2)),
    "nothing": ((0, 0, 0), (0, 1, 0), (0, 0, 0)),
}
LARGEST = 1000.0  # of a weight that is typed in


def as_kernel(rows: npt.ArrayLike) -> F32:
    """Float32 ``(k, k)``. Raises InputError for anything but a square of 1, 3 or 5 usable numbers a side."""
    kernel = np.asarray(rows, np.float32)
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or kernel.shape[0] not in (1, 3, 5):
        raise InputError("a kernel is a square of 1×1, 3×3 or 5×5 numbers")
    if not np.isfinite(kernel).all() or np.abs(kernel).max() > LARGEST:
        raise InputError("a kernel's numbers are between -{most} and {most}", most=int(LARGEST))
    return kernel


def convolve(image: npt.NDArray[np.generic], kernel: F32, *, stride: int = 1, padding: int = 0) -> F32:
    """Float32 map: at each place the sum of pixels times weights. padding: rings of 0 around the picture."""
    padded = np.pad(image.astype(np.float32), padding)
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape)[::stride, ::stride]
    return np.asarray(np.einsum("yxij,ij->yx", windows, kernel), np.float32)


def relu(values: F32) -> F32:
    """Below 0 becomes 0."""
    return np.maximum(values, np.float32(0))


def pool(values: npt.NDArray[np.generic], size: int, kind: str = "max") -> F32:
    """Of every ``size`` × ``size`` square one number: its largest, or its mean. A rest at the edge goes."""
    height, width = (side // size * size for side in values.shape)
    if not height or not width:
        raise InputError("the window is larger than the map; choose a smaller one")
    blocks = values[:height, :width].astype(np.float32).reshape(height // size, size, width // size, size)
    return np.asarray(blocks.max((1, 3)) if kind == "max" else blocks.mean((1, 3)), np.float32)


@dataclass(frozen=True, eq=False)
class Step:
    """One place of the kernel. pixels, weights, products: ``(k, k)``; total: their sum, the output there."""

    pixels: F32
    weights: F32
    products: F32
    total: float

    def text(self) -> str:
        """``12×(-1) + 34×0 + …  = 56``."""
        pairs = zip(self.pixels.ravel(), self.weights.ravel(), strict=True)
        return (
            " + ".join(f"{_plain(float(p))}×{_signed(float(w))}" for p, w in pairs)
            + f" = {_plain(self.total)}"
        )


def step(image: npt.NDArray[np.generic], kernel: F32, row: int, column: int) -> Step:
    """What happens where the kernel's upper left corner lies on ``(row, column)``."""
    side = len(kernel)
    pixels = image[row : row + side, column : column + side].astype(np.float32)
    products = pixels * kernel
    return Step(pixels, kernel, products, float(products.sum()))


def shown(values: F32) -> U8:
    """A map as a grey picture. Maps with negative values have 0 in the middle grey."""
    if not values.size:
        return np.zeros(values.shape, np.uint8)
    low, high = float(values.min()), float(values.max())
    if low < 0:
        top = max(-low, high)
        return np.asarray(np.round(127.5 + 127.5 * values / top), np.uint8)
    return np.asarray(np.round(255 * values / high) if high > 0 else np.zeros_like(values), np.uint8)


def _plain(value: float) -> str:
    return f"{value:.0f}" if abs(value - round(value)) < 5e-4 else f"{value:.2f}"


def _signed(value: float) -> str:
    return f"({_plain(value)})" if value < 0 else _plain(value)
