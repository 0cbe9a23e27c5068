"""Minutes at full load: does the board get hot and slow? (``imago bench --minutes 10``)"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imago.edge_runtime.bench_worker import camera_frame
from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.spec import ModelSpec
from imago.edge_runtime.stats import Percentiles
from imago.edge_runtime.system import Condition, read_condition

MOST_SAMPLES = 600  # a day is drawn with as many points as ten minutes
SHORTEST_S = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One stretch of the run. time_s: its end, since the beginning; latency: frame → prediction."""

    time_s: float
    latency: Percentiles
    condition: Condition


@dataclass(frozen=True, slots=True)
class Sustained:
    """A run at full load, stretch by stretch. finished: False where it was interrupted."""

    minutes: float
    samples: tuple[Sample, ...]
    finished: bool

    @property
    def slowdown(self) -> float:
        """p50 of the last tenth of the run over p50 of its first tenth (medians of their stretches)."""
        p50 = [sample.latency.p50_us for sample in self.samples]
        tenth = max(1, len(p50) // 10)
        return float(np.median(p50[-tenth:]) / np.median(p50[:tenth]))

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        rows = [
            {
                "time_s": round(s.time_s, 2),
                "n": s.latency.n,
                "p50_us": s.latency.p50_us,
                "p99_us": s.latency.p99_us,
                **asdict(s.condition),
            }
            for s in self.samples
        ]
        return {
            "minutes": self.minutes,
            "finished": self.finished,
            "slowdown": round(self.slowdown, 4) if self.samples else None,
            "samples": rows,
        }


def sustain(
    model: Path | str,
    minutes: float,
    *,
    threads: int,
    frame: tuple[int, int],
    spec: ModelSpec | None = None,
    advance: Callable[[float], None] = lambda seconds: None,
) -> Sustained:
    """Predict without a pause for ``minutes``; Ctrl-C ends it early and keeps what was measured.

    Memory stays bounded: one list of a stretch's times, and at most ``MOST_SAMPLES`` stretches.
    """
    stretch = max(SHORTEST_S, minutes * 60 / MOST_SAMPLES)
    samples: list[Sample] = []
    finished = False
    with Classifier(model, threads=threads, spec=spec) as classifier, contextlib.suppress(KeyboardInterrupt):
        picture = camera_frame(classifier.spec.input, frame)
        began = time.monotonic()
        while (passed := time.monotonic() - began) < minutes * 60:
            times = _stretch(lambda: classifier.predict(picture), min(stretch, minutes * 60 - passed))
            now = time.monotonic() - began
            samples.append(Sample(now, Percentiles.of(times), read_condition()))
            advance(now)
        finished = True
    return Sustained(minutes, tuple(samples), finished)


def _stretch(predict: Callable[[], object], seconds: float) -> list[int]:
    """Nanoseconds of each call, for at least one call and about ``seconds``."""
    end = time.monotonic() + seconds
    times: list[int] = []
    while not times or time.monotonic() < end:
        start = time.perf_counter_ns()
        predict()
        times.append(time.perf_counter_ns() - start)
    return times
