"""Latency figures: a logarithmic histogram for runs without end, exact percentiles for samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

STEP = 1.01  # neighbouring bins differ by 1 %
BINS = 2100  # 1 µs · 1.01^2100 ≈ 20 minutes
_LOG_STEP = math.log(STEP)


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles of ``n`` durations, in microseconds."""

    n: int
    min_us: float
    p50_us: float
    p90_us: float
    p99_us: float
    max_us: float

    @classmethod
    def of(cls, durations_ns: Sequence[int]) -> Percentiles:
        """Exact percentiles (linear interpolation) of at least one duration in nanoseconds."""
        values = np.asarray(durations_ns, np.float64) / 1e3
        p50, p90, p99 = (round(float(p), 3) for p in np.percentile(values, (50, 90, 99)))
        return cls(len(values), float(values.min()), p50, p90, p99, float(values.max()))

    def to_dict(self) -> dict[str, float]:
        """Plain keys: ``n``, ``min_us``, ``p50_us``, …"""
        return asdict(self)


class LatencyHistogram:
    """Durations counted in bins 1 % apart: 17 kB for ever, percentiles within 1 %."""

    def __init__(self) -> None:
        self._counts = [0] * BINS
        self._n = 0
        self._min, self._max = math.inf, 0.0

    def add(self, duration_ns: int) -> None:
        """Count one duration (below 1 µs counts as 1 µs)."""
        us = duration_ns / 1e3
        self._counts[min(BINS - 1, int(math.log(us) / _LOG_STEP)) if us > 1 else 0] += 1
        self._n += 1
        self._min, self._max = min(self._min, us), max(self._max, us)

    def percentile(self, q: float) -> float:
        """The ``q``-th percentile in µs (0: least, 100: largest, both exact); 0 where nothing was counted."""
        if q <= 0 or q >= 100:
            return self._max if q >= 100 else min(self._min, self._max)
        rank, seen = q / 100 * (self._n - 1), 0
        for index, count in enumerate(self._counts):
            seen += count
            if seen > rank:
                return min(max(math.exp((index + 0.5) * _LOG_STEP), self._min), self._max)
        return 0.0

    def summary(self) -> Percentiles | None:
        """What was counted; None where nothing was."""
        if not self._n:
            return None
        p50, p90, p99 = (round(self.percentile(q), 1) for q in (50, 90, 99))
        return Percentiles(self._n, round(self._min, 1), p50, p90, p99, round(self._max, 1))
