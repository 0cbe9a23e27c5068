"""The end-to-end part of ``benchmarks/runtime.py``: the whole loop of ``imago run``, with a camera thread.

``end_to_end``: a camera hands over a frame, the loop's thread wakes up, looks at it and has the answer: the
picture's age in the loop's own figures, less the time from its stamp to its being handed over. After every
frame, and as long a pause, the bare engine runs once on a tensor that is ready: both come out of the same
sleep, as they do between two pictures of a camera, after the same work of a camera for one picture (making
bgr of YUYV throws the engine out of the caches, for the bare one as well), and are measured in the same
second. The next frame comes once the loop waits again. The frames are what the cameras of
``edge_runtime/cameras`` hand over: an ISP's frame lies in memory that no processor has touched (four
pictures in turn, out of the caches since the last inference); a USB camera's YUYV has just been made bgr by
the capture thread, with the camera's own function. "640x480, untouched" is the same picture without that, as
a driver with a bgr format would leave it. "decided": with smoothing and visits as well, as sinks get it.

``age_when_slow``: a camera at 60 frames a second and a model that takes three of its periods: the age of the
picture at its answer must stay below one period plus the answer's time. ``cpu_at``: processor time of the
whole ``imago run`` at a frame-rate cap.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
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

    def __init__(self, pictures: list[Callable[[], tuple[Any, Any]]]) -> None:
        self._pictures, self._turn = pictures, 0
        self.stamp = self.handed = 0
        self.go, self._open = threading.Event(), True
        self.go.set()

    def __iter__(self) -> Iterator[Frame]:
        from imago.edge_runtime.types import Frame

        index = 0
        while self._open:
            self.go.wait()
            self.go.clear()
            time.sleep(BREATH_S)
            image, color = self.take_picture()
            self.stamp = time.monotonic_ns()
            frame = Frame(image, color, self.stamp, index)
            del image
            self.handed = time.monotonic_ns()
            yield frame
            del frame
            index += 1

    def take_picture(self) -> tuple[Any, Any]:
        """A camera's work for one picture: array and colour order."""
        self._turn = (self._turn + 1) % len(self._pictures)
        return self._pictures[self._turn]()

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
        self.decided: list[float] = []
        self.bare: list[float] = []

    def write(self, seen: Seen) -> None:
        self.decided.append((time.monotonic_ns() - self._source.handed) / 1e3)
        time.sleep(BREATH_S)
        picture = self._source.take_picture()
        began = time.perf_counter_ns()
        self._call()
        self.bare.append((time.perf_counter_ns() - began) / 1e3)
        del picture
        self.ages.append(seen.age_us - (self._source.handed - self._source.stamp) / 1e3)
        self._source.go.set()

    def close(self) -> None:
        pass


def delivered(kind: str, size: tuple[int, int], seed: int) -> Callable[[], tuple[Any, Any]]:
    """What hands over one picture of a camera, as array and colour order (see the module's docstring)."""
    from imago.edge_runtime.cameras.pixels import color

    chance = np.random.default_rng(seed)
    width, height = size
    if kind == "yuyv":
        packed = chance.integers(0, 256, height * width * 2, dtype=np.uint8)
        return lambda: color("YUYV", packed, width, height, 2 * width)  # type: ignore[return-value]
    image = chance.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return lambda: (image, "bgr")


def end_to_end(model: Path, kind: str, size: tuple[int, int] | None, runs: int) -> dict[str, float]:
    """Medians in µs. kind: ``delivered``'s. size: of the frames, None: the model's own."""
    from imago.edge_runtime.classifier import Classifier
    from imago.edge_runtime.loop import Loop, LoopOptions
    from imago.edge_runtime.types import Frame
    from imago.edge_runtime.watch import Watch

    with Classifier(model, threads=1) as classifier:
        pictures = [delivered(kind, size or classifier.spec.input.size, seed) for seed in range(4)]
        source = HandOver(pictures)
        tensor = classifier.prepare(Frame(*pictures[0]())).copy()
        sink = Beside(classifier, tensor, source)
        watch = Watch(classifier, classifier.spec.labels, mode="off")
        Loop(watch, source, [sink], LoopOptions(max_frames=runs + 50)).run()
    columns = {"bare": sink.bare, "whole": sink.ages, "decided": sink.decided}
    return {name: float(np.median(values[50:])) for name, values in columns.items()}


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
