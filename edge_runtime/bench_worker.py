"""One fresh process of a bench: camera picture in, recorded answer out, every step on the clock.

``python -m imago.edge_runtime.bench_worker`` takes a job as JSON on standard input and prints one JSON
object. The steps are timed where they happen, one after another on the same frame, as in ``imago run``:
what one step leaves in the caches is what the next one finds.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from imago.edge_runtime.cameras.base import open_source
from imago.edge_runtime.classifier import Classifier, softmax
from imago.edge_runtime.fresh import run_job
from imago.edge_runtime.sinks import JsonLinesSink, Seen, Sink
from imago.edge_runtime.spec import InputSpec, ModelSpec
from imago.edge_runtime.types import Color, Frame, Prediction
from imago.edge_runtime.watch import Watch

STEPS = ("capture", "preprocess", "engine", "decide", "sink")


@dataclass(frozen=True, slots=True)
class WorkerJob:
    """What one process shall do. spec: contract as JSON, for models that carry none.

    source: None: a picture in memory that is copied for every run, as a driver's buffer would be.
    frame: ``(width, height)``. began: Unix time at which the process was started.
    """

    model: str
    threads: int
    runs: int
    warmup: int
    frame: tuple[int, int]
    spec: str | None = None
    source: str | None = None
    began: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkerResult:
    """Times of one process. steps_ns: of each timed run. start_to_first_ms: process start → first answer;
    load_ms: opening the file, its library included; first_us: first answer after that."""

    engine: str
    engine_version: str
    frame: tuple[int, int]
    frame_color: str
    source: str
    load_ms: float
    first_us: float
    start_to_first_ms: float
    steps_ns: dict[str, list[int]]


def run_worker(job: WorkerJob) -> WorkerResult:
    """Do ``job`` in a fresh process. Raises ModelError where that fails."""
    return WorkerResult(**run_job("imago.edge_runtime.bench_worker", {**asdict(job), "began": time.time()}))


def camera_frame(spec: InputSpec, size: tuple[int, int]) -> Frame:
    """What a camera would deliver: noise, grey for a grey model (the ISP's Y plane), else bgr."""
    color: Color = "gray" if spec.color == "gray" else "bgr"
    shape = (size[1], size[0]) if color == "gray" else (size[1], size[0], 3)
    return Frame(np.random.default_rng(0).integers(0, 256, shape, np.uint8), color)


def work(job: WorkerJob) -> WorkerResult:
    """Measure in this process."""
    spec = None if job.spec is None else ModelSpec.from_json(job.spec)
    start = time.perf_counter_ns()
    with Classifier(job.model, threads=job.threads, spec=spec) as classifier:
        load_ms = (time.perf_counter_ns() - start) / 1e6
        frames, described = _frames(job, classifier.spec.input)
        first = next(frames)
        start = time.perf_counter_ns()
        classifier.predict(first)
        first_us = (time.perf_counter_ns() - start) / 1e3
        start_to_first_ms = (time.time() - job.began) * 1e3
        shape, color = (first.image.shape[1], first.image.shape[0]), first.color
        first.release()
        with tempfile.TemporaryDirectory(prefix="imago-bench-") as folder:
            sink, answer = JsonLinesSink(Path(folder) / "answers.jsonl"), _Given()
            watch = Watch(answer, classifier.spec.labels)
            rows = [
                _step_by_step(classifier, frames, answer, watch, sink) for _ in range(job.warmup + job.runs)
            ]
            sink.close()
        return WorkerResult(
            engine=classifier.engine.name,
            engine_version=classifier.engine.version,
            frame=shape,
            frame_color=color,
            source=described,
            load_ms=load_ms,
            first_us=first_us,
            start_to_first_ms=start_to_first_ms,
            steps_ns={name: [row[k] for row in rows[job.warmup :]] for k, name in enumerate(STEPS)},
        )


class _Given:
    """A predictor whose answer is there already, so that decisions can be timed without the engine."""

    prediction: Prediction

    def predict(self, frame: Frame) -> Prediction:
        """The answer, whatever the frame."""
        return self.prediction


def _step_by_step(
    classifier: Classifier, frames: Iterator[Frame], answer: _Given, watch: Watch, sink: Sink
) -> tuple[int, ...]:
    """Nanoseconds of each of ``STEPS`` for the next frame: what ``Loop`` and ``Classifier.predict`` do."""
    clock = time.perf_counter_ns
    t0 = clock()
    frame = next(frames)
    t1 = clock()
    tensor = classifier.prepare(frame)
    t2 = clock()
    row = classifier.engine.run(tensor)
    t3 = clock()
    answer.prediction = Prediction(
        softmax(row) if classifier.spec.output == "logits" else row, classifier.spec.labels
    )
    look = watch.look(frame)
    us = (t3 - t1) / 1e3
    seen = Seen(frame.index, frame.name, t3 / 1e9, look.prediction, us, us, subjects=look.subjects)
    t4 = clock()
    sink.write(seen)
    t5 = clock()
    frame.release()
    return t1 - t0, t2 - t1, t3 - t2, t4 - t3, t5 - t4


def _frames(job: WorkerJob, spec: InputSpec) -> tuple[Iterator[Frame], str]:
    if job.source is None:
        return _copies(camera_frame(spec, job.frame)), "memory"
    source = open_source(job.source, size=job.frame, target=spec)

    def again_and_again() -> Iterator[Frame]:
        current = source
        while True:  # a video that ends starts again
            yield from current
            current.close()
            current = open_source(str(job.source), size=job.frame, target=spec)

    return again_and_again(), source.description


def _copies(frame: Frame) -> Iterator[Frame]:
    index = 0
    while True:
        yield Frame(frame.image.copy(), frame.color, time.monotonic_ns(), index)
        index += 1


def main() -> int:
    """Read the job, do it, print what it took."""
    job = json.load(sys.stdin)
    job["frame"] = tuple(job["frame"])
    sys.stdout.write(json.dumps(asdict(work(WorkerJob(**job)))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
