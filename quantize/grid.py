"""Integer grids: uint8 for what flows through the network, symmetric int8 for weights, int32 for biases.

Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference": real = scale · (stored − zero point).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imago.quantize.onnx_view import Array

LEVELS = 255  # steps of uint8
WEIGHT_TOP = 127  # int8 without −128, so that the grid is symmetric
SMALLEST = 1e-8
# No channel's scale below this share of the largest: a channel that training switched off has weights of
# almost 0 and a bias that would not fit into int32 on a grid as fine. Its rounding errors stay a thousandth
# of those of the largest channel.
FINEST = 2.0**-10


@dataclass(frozen=True, slots=True)
class Grid:
    """A uint8 grid for activations. zero: the stored number that means 0."""

    scale: float
    zero: int

    def __post_init__(self) -> None:
        if not (self.scale > 0 and 0 <= self.zero <= LEVELS):
            raise ValueError(f"no uint8 grid: scale {self.scale}, zero point {self.zero}")

    @classmethod
    def over(cls, low: float, high: float) -> Grid:
        """The grid that spans ``low`` to ``high``, widened to hold 0, which it represents exactly."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max((high - low) / LEVELS, SMALLEST)
        return cls(float(np.float32(scale)), int(np.clip(round(-low / scale), 0, LEVELS)))

    @property
    def low(self) -> float:
        """Smallest value that can be stored."""
        return -self.zero * self.scale

    @property
    def high(self) -> float:
        """Largest value that can be stored."""
        return (LEVELS - self.zero) * self.scale

    def rounded(self, values: Array) -> Array:
        """``values`` as they come back from storage (float64)."""
        stored = np.clip(np.rint(values / self.scale) + self.zero, 0, LEVELS)
        return np.asarray((stored - self.zero) * self.scale)


def hard_swish_grid(high: float) -> Grid:
    """A grid for the input x of HardSwish: −3 is its lowest value (below, HardSwish is 0) and 3 lies on it
    exactly, so that x/6 + 1/2 of Howard et al. 2019 is the same stored numbers read on another scale."""
    zero = int(np.clip(3 * LEVELS // (max(high, 3.0) + 3), 4, LEVELS // 2))
    return Grid(float(np.float32(3 / zero)), zero)


@dataclass(frozen=True, eq=False, slots=True)
class IntWeights:
    """Weights as int8. scales: float32, one per output channel or a single one; axis: of the channels."""

    values: Array
    scales: Array
    axis: int

    @property
    def real(self) -> Array:
        """The weights that the integers mean (float64, shape of ``values``)."""
        return self.values * _along(self.scales.astype(np.float64), self.values.ndim, self.axis)


def int_weights(weight: Array, *, per_channel: bool, axis: int = 0) -> IntWeights:
    """``weight`` rounded to symmetric int8; nothing is cut off (least-squares scales gained nothing)."""
    rows = np.moveaxis(weight.astype(np.float64), axis, 0).reshape(weight.shape[axis], -1)
    rows = rows if per_channel else rows.reshape(1, -1)
    steps = np.abs(rows).max(1) / WEIGHT_TOP
    scales = np.maximum(steps, max(FINEST * steps.max(), SMALLEST)).astype(np.float32)
    wide = _along(scales.astype(np.float64), weight.ndim, axis)
    values = np.clip(np.rint(weight / wide), -WEIGHT_TOP, WEIGHT_TOP).astype(np.int8)
    return IntWeights(values, scales, axis)


def _along(values: Array, ndim: int, axis: int) -> Array:
    shape = [1] * ndim
    shape[axis] = -1
    return values.reshape(shape)
