"""The end-to-end part of ``benchmarks/runtime.py``: the whole loop of ``imago run``, with a camera thread.

``end_to_end``: a camera hands over a frame (its time stamp is that moment), the loop's thread wakes up,
looks at it and has the answer: that is the picture's age in the loop's own figures. After every frame, and
as long a pause, the bare engine runs once on a tensor that is ready: both come out of the same sleep, as
they do between two pictures of a camera, and are measured in the same second. The next frame comes once the
loop waits again. ``age_when_slow``: a camera at 60 frames a second and a model that takes three of its
periods: the age of the picture at its answer must stay below one period plus the answer's time. ``cpu_at``:
processor time of the whole ``imago run`` at a frame-rate cap.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from imago.edge_runtime.classifier import Classifier
    from imago.edge_runtime.sinks import Seen
    from imago.edge_runtime.types import Frame, Prediction

BREATH_S = 0.004  # between two frames: the loop has gone to sleep by then, as it does at 30 frames a second
SLOW_FPS, SLOW_PERIODS = 60.0, 3.0


class HandOver:
    """A live source that hands over a frame whenever it is told to; the pictures are there already."""

    live, description = True, "frames in memory"

    def __init__(self, pictures: list[Any], color: str) -> None:
        self._pictures, self._color = pictures, color
        self.go, self._open = threading.Event(), True
        self.go.set()

    def __iter__(self) -> Iterator[Frame]:
        from imago.edge_runtime.types import Frame

        index = 0
        while self._open:
            self.go.wait()
            self.go.clear()
            time.sleep(BREATH_S)
            image = self._pictures[index % len(self._pictures)]
            yield Frame(image, self._color, time.monotonic_ns(), index)  # type: ignore[arg-type]
            index += 1

    def close(self) -> None:
        self._open = False
        self.go.set()


class Beside:
    """A sink that runs the bare engine after every frame and then asks for the next one."""

    def __init__(self, classifier: Classifier, tensor: Any, source: HandOver) -> None:
        engine: Any = classifier.engine
        self._call = lambda: engine._session.run(engine._wanted, {engine._input: tensor})
        self._source = source
        self.ages: list[float] = []
        self.bare: list[float] = []

    def write(self, seen: Seen) -> None:
        time.sleep(BREATH_S)
        began = time.perf_counter_ns()
        self._call()
        self.bare.append((time.perf_counter_ns() - began) / 1e3)
        self.ages.append(seen.age_us)
        self._source.go.set()

    def close(self) -> None:
        pass


def end_to_end(model: Path, size: tuple[int, int] | None, runs: int) -> dict[str, float]:
    """Medians in µs. size: of the frames, None: the model's own, as an ISP delivers it."""
    from imago.edge_runtime.classifier import Classifier
    from imago.edge_runtime.loop import Loop, LoopOptions
    from imago.edge_runtime.types import Frame
    from imago.edge_runtime.watch import Watch

    with Classifier(model, threads=1) as classifier:
        width, height = size or classifier.spec.input.size
        chance = np.random.default_rng(0)
        pictures = [chance.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(4)]
        source = HandOver(pictures, "bgr")
        tensor = classifier.prepare(Frame(pictures[0], "bgr")).copy()
        sink = Beside(classifier, tensor, source)
        watch = Watch(classifier, classifier.spec.labels, mode="off")
        Loop(watch, source, [sink], LoopOptions(max_frames=runs + 50)).run()
    ages, bare = np.array(sink.ages[50:]), np.array(sink.bare[50:])
    return {"bare": float(np.median(bare)), "whole": float(np.median(ages))}


class Slow:
    """A predictor that takes longer than the camera's period."""

    def __init__(self, classifier: Classifier, seconds: float) -> None:
        self._classifier, self._seconds = classifier, seconds

    def predict(self, frame: Frame) -> Prediction:
        end = time.monotonic() + self._seconds
        answer = self._classifier.predict(frame)
        while time.monotonic() < end:
            answer = self._classifier.predict(frame)
        return answer


def age_when_slow(model: Path, seconds: float = 20.0) -> dict[str, float]:
    """Ages in ms, and the bound: a period of the camera and one answer."""
    from imago.edge_runtime.cameras.synthetic import SyntheticSource
    from imago.edge_runtime.classifier import Classifier
    from imago.edge_runtime.loop import Loop, LoopOptions

    with Classifier(model, threads=1) as classifier:
        slow = Slow(classifier, SLOW_PERIODS / SLOW_FPS)
        source = SyntheticSource((640, 480), fps=SLOW_FPS, live=True)
        stats = Loop(slow, source, [], LoopOptions(max_seconds=seconds)).run()
    assert stats.age is not None
    assert stats.latency is not None
    return {
        "processed": stats.processed,
        "dropped": stats.dropped,
        "answer_p50_ms": stats.latency.p50_us / 1e3,
        "age_p50_ms": stats.age.p50_us / 1e3,
        "age_p99_ms": stats.age.p99_us / 1e3,
        "age_max_ms": stats.age.max_us / 1e3,
        "bound_ms": 1e3 / SLOW_FPS + stats.latency.max_us / 1e3,
    }


def cpu_at(model: Path, fps: float, motion: str, seconds: float = 20.0) -> dict[str, float]:
    """Processor time per second of ``imago run`` beyond its start, in percent of one core."""

    def used(limit: float) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "imago.cli.main", "run", str(model), "--source", "synthetic"]
        command += ["--realtime", "--max-fps", str(fps), "--motion", motion, "--seconds", str(limit)]
        done = subprocess.run([*command, "--json", "-"], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        results.append(json.loads(done.stdout))
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    results: list[dict[str, Any]] = []
    short, long = used(2.0), used(2.0 + seconds)
    late = results[-1]
    return {"cpu_percent": 100 * (long - short) / seconds, "fps": late["fps"], "calls": late["calls"]}
