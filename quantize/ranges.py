"""From statistics to a range: how much of a tensor's tail is cut off so that the rest is finer.

- ``minmax``: nothing is cut.
- ``percentile-99.99``, ``percentile-99.9``: what lies outside that share of the values is cut.
- ``mse``: the range with the least mean squared rounding and clipping error.
- ``entropy``: the range whose quantised distribution is nearest to the real one in Kullback–Leibler
  divergence (Migacz 2017, "8-bit inference with TensorRT").
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from imago.quantize.grid import LEVELS, Grid
from imago.quantize.onnx_view import Array
from imago.quantize.statistics import TensorStatistics

Method = Literal["minmax", "percentile-99.99", "percentile-99.9", "mse", "entropy"]
METHODS: tuple[Method, ...] = get_args(Method)
CANDIDATES = np.linspace(1.0, 0.1, 91)  # shares of the larger extreme that are tried as threshold


def choose_range(tensor: TensorStatistics, method: Method) -> tuple[float, float]:
    """``(low, high)`` for a uint8 grid."""
    if method == "minmax" or tensor.high <= tensor.low:
        return tensor.low, tensor.high
    if method.startswith("percentile"):
        return _percentile(tensor, float(method.removeprefix("percentile-")) / 100)
    score = _squared_error if method == "mse" else _divergence
    cuts = (_cut(tensor, share) for share in CANDIDATES)
    return min((c for c in cuts if _holds_something(tensor, *c)), key=lambda c: score(tensor, *c))


def _cut(tensor: TensorStatistics, share: float) -> tuple[float, float]:
    """Both ends cut at the same distance from 0."""
    limit = share * max(abs(tensor.low), abs(tensor.high))
    return max(tensor.low, -limit), min(tensor.high, limit)


def _holds_something(tensor: TensorStatistics, low: float, high: float) -> bool:
    """Whether any of the tensor's values lie between; a gate near 1 has none below a half."""
    centers = tensor.centers
    return bool(tensor.counts[(centers >= low) & (centers <= high)].any())


def _percentile(tensor: TensorStatistics, kept: float) -> tuple[float, float]:
    """Half of what is cut goes to each end; all of it to the upper one where nothing is negative."""
    share = np.cumsum(tensor.counts) / tensor.counts.sum()
    tail = (1 - kept) / (1 if tensor.low >= 0 else 2)
    width = (tensor.high - tensor.low) / len(share)
    low = tensor.low if tensor.low >= 0 else tensor.low + width * int(np.searchsorted(share, tail))
    high = tensor.low + width * (int(np.searchsorted(share, 1 - tail)) + 1)
    return low, min(high, tensor.high)


def _squared_error(tensor: TensorStatistics, low: float, high: float) -> float:
    centers = tensor.centers
    return float((tensor.counts * (Grid.over(low, high).rounded(centers) - centers) ** 2).sum())


def _divergence(tensor: TensorStatistics, low: float, high: float) -> float:
    """KL divergence of the histogram (tails gathered at the ends) from itself after rounding to levels."""
    centers = tensor.centers
    inside = (centers >= low) & (centers <= high)
    real = tensor.counts[inside].astype(np.float64)
    kept = real.copy()
    real[0] += tensor.counts[centers < low].sum()
    real[-1] += tensor.counts[centers > high].sum()
    step = max((high - low) / LEVELS, 1e-12)
    level = np.clip(np.rint((centers[inside] - low) / step), 0, LEVELS).astype(np.int64)
    occupied = kept > 0
    totals = np.bincount(level, kept, LEVELS + 1)
    holders = np.bincount(level, occupied.astype(np.float64), LEVELS + 1)
    spread = np.where(occupied, totals[level] / np.maximum(holders[level], 1), 0.0)
    return _kl(real, spread)


def _kl(p: Array, q: Array) -> float:
    """KL(p‖q) of two histograms, nats; where q has nothing it counts a little (Laplace)."""
    p, q = p / p.sum(), (q + 1e-4) / (q + 1e-4).sum()
    held = p > 0
    return float((p[held] * np.log(p[held] / q[held])).sum())
