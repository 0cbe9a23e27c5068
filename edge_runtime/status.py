"""How a run is doing right now: one place that counts, for the live page, Prometheus, MQTT and watchers.

Counting costs about a microsecond a frame; everything else (percentiles, temperature, memory) is worked
out when somebody asks.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

from imago.edge_runtime.events import Event
from imago.edge_runtime.memory import status_mb
from imago.edge_runtime.sinks import Seen
from imago.edge_runtime.stats import Percentiles
from imago.edge_runtime.system import Condition, read_condition

WINDOW = 1024  # frames that percentiles are taken over
FPS_WINDOW_S = 10.0
STALE_S = 10.0
CONDITION_S = 5.0
MAX_LABELS = 200  # counted apart; classes beyond that count as "other"
BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


class Histogram:
    """Durations counted in fixed bins for ever, as Prometheus wants them (``le`` bounds in ms)."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_MS) + 1)
        self.sum_s = 0.0

    def add(self, us: float) -> None:
        """Count one duration in microseconds."""
        self.counts[bisect_left(BOUNDS_MS, us / 1e3)] += 1
        self.sum_s += us / 1e6


class LiveStatus:
    """A ``Sink`` and an ``EventSink`` that only counts. Safe to ask from any thread.

    model, source: names for people. stale_s: without a frame for so long, the run is not healthy.
    """

    def __init__(self, *, model: str, source: str, stale_s: float = STALE_S) -> None:
        self.model, self.source, self.stale_s = model, source, stale_s
        self.latency, self.age = Histogram(), Histogram()
        self.labels: Counter[str] = Counter()
        self.frames = self.dropped = self.events = 0
        self._lock = threading.Lock()
        self._window: deque[tuple[float, float | None, float]] = deque(maxlen=WINDOW)
        self._began = self._last = time.monotonic()
        self._index: int | None = None
        self._last_event: str | None = None
        self._parts: dict[str, Callable[[], Mapping[str, Any]]] = {}
        self._condition: tuple[float, Condition] | None = None

    def provide(self, name: str, part: Callable[[], Mapping[str, Any]]) -> None:
        """Let ``snapshot`` hold what ``part`` says under ``name``: records, mqtt, camera."""
        self._parts[name] = part

    def write(self, seen: Seen) -> None:
        """Count one frame."""
        now = time.monotonic()
        with self._lock:
            self.frames += 1
            if self._index is not None and seen.index > self._index:
                self.dropped += seen.index - self._index - 1
            self._index, self._last = seen.index, now
            idle = seen.idle
            self._window.append((now, None if idle else seen.latency_us, seen.age_us))
            self.age.add(seen.age_us)
            if not idle:
                self.latency.add(seen.latency_us)

    def event(self, event: Event) -> None:
        """Count one event."""
        label = "unknown" if event.unknown else event.label
        with self._lock:
            self.events += 1
            self._last_event = event.id
            self.labels[label if label in self.labels or len(self.labels) < MAX_LABELS else "other"] += 1

    def close(self) -> None:
        """Nothing to finish."""

    @property
    def last_frame_s(self) -> float:
        """Seconds since the last frame (since the start, where there was none)."""
        return time.monotonic() - self._last

    @property
    def healthy(self) -> bool:
        """Whether frames keep coming."""
        return self.last_frame_s <= self.stale_s

    def brief(self) -> dict[str, Any]:
        """A few figures for MQTT."""
        return {
            "healthy": self.healthy,
            "fps": self._fps(),
            "temperature_c": self.condition().temperature_c,
            "frames": self.frames,
            "events": self.events,
        }

    def snapshot(self) -> dict[str, Any]:
        """Everything, as plain keys for JSON. Durations of the last ``WINDOW`` frames in microseconds."""
        with self._lock:
            window, labels = list(self._window), dict(self.labels)
        condition = self.condition()
        return {
            "model": self.model,
            "source": self.source,
            "time": round(time.time(), 3),
            "uptime_s": round(time.monotonic() - self._began, 1),
            "healthy": self.healthy,
            "frames": self.frames,
            "dropped": self.dropped,
            "fps": self._fps(),
            "last_frame_s": round(self.last_frame_s, 2),
            "latency": _percentiles([latency for _, latency, _ in window if latency is not None]),
            "age": _percentiles([age for _, _, age in window]),
            "temperature_c": condition.temperature_c,
            "clock_mhz": condition.clock_mhz,
            "throttled": None if condition.throttled is None else list(condition.throttled),
            "rss_mb": status_mb("status", "VmRSS"),
            "peak_rss_mb": status_mb("status", "VmHWM"),
            "events": {"count": self.events, "last": self._last_event, "labels": labels},
            **{name: dict(part()) for name, part in self._parts.items()},
        }

    def condition(self) -> Condition:
        """Temperature, clock and throttling, read at most every five seconds (it may start a program)."""
        now = time.monotonic()
        known = self._condition
        if known is None or now - known[0] > CONDITION_S:
            known = self._condition = (now, read_condition())
        return known[1]

    def _fps(self) -> float:
        oldest = time.monotonic() - FPS_WINDOW_S
        with self._lock:
            times = [moment for moment, _, _ in self._window if moment > oldest]
        return round((len(times) - 1) / (times[-1] - times[0]), 1) if len(times) > 1 else 0.0


def _percentiles(durations_us: list[float]) -> dict[str, float] | None:
    return Percentiles.of([round(1e3 * us) for us in durations_us]).to_dict() if durations_us else None
