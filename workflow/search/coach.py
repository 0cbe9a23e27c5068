"""How long a training of the search goes on: its share of the time, the search's end, the laggards' rule."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from imago.train.checkpoint import Position

Curve = Sequence[tuple[float, float]]
SETTLING = 5  # steps until the measured speed is believed: the first ones pay for warming up


class SearchCoach:
    """A ``Coach`` (``train/loop.py``).

    seconds: how long to train in all (0: by ``epochs``); from_now: not counting what was trained before an
    interruption. epochs: how long to train where no time is given. until:
    wall-clock time (``time.time()``) at which everything ends. lags: told the curve after each validation;
    True drops the run. Afterwards: ``dropped``, ``late`` (the end came first) and ``curve`` say how it went.
    """

    def __init__(
        self,
        *,
        seconds: float = 0.0,
        epochs: int = 0,
        until: float | None = None,
        from_now: bool = False,
        lags: Callable[[Curve], bool] = lambda curve: False,
    ) -> None:
        self.seconds, self.epochs, self.until, self.lags = seconds, epochs, until, lags
        self.from_now = from_now
        self.dropped = self.late = False
        self.curve: list[tuple[float, float]] = []
        self._began = math.nan
        self._first = 0
        self._before = 0.0
        self._rows = 0

    def steps(self, at: Position, per_epoch: int) -> int:
        """See ``Coach``."""
        done = at.epoch * per_epoch + at.step
        if math.isnan(self._began):
            self._began, self._first, self._rows = time.monotonic(), done - 1, len(at.rows)
            if not self.from_now:
                self._before = sum(row["seconds"] for row in at.rows) + at.seconds
        planned = self._planned(done, per_epoch)
        self._watch(at, done / max(1, planned))
        if self.until is not None and time.time() >= self.until:
            self.late = planned > done
            return done
        return 0 if self.dropped else planned

    def _planned(self, done: int, per_epoch: int) -> int:
        if not self.seconds:
            return max(1, self.epochs) * per_epoch
        spent = time.monotonic() - self._began
        left = self.seconds - self._before - spent
        fresh = done - self._first
        if left <= 0:
            return done
        if fresh <= SETTLING:
            return done + max(SETTLING, per_epoch)
        return done + max(1, round(left * (fresh - 1) / spent))

    def _watch(self, at: Position, share: float) -> None:
        if len(at.rows) <= self._rows:
            return
        self._rows = len(at.rows)
        best = max((row.get("val_accuracy", 0.0) for row in at.rows), default=0.0)
        self.curve.append((round(min(1.0, share), 4), best))
        self.dropped = self.dropped or self.lags(self.curve)
