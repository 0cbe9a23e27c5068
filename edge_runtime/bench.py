"""How fast is this model file here? The discipline of MLPerf's single-stream scenario.

Warm-up is apart, the first inference is reported by itself, percentiles instead of means, stages
interleaved in one run (so that a hot minute hits all alike), memory in a process of its own, and
everything about machine, engine and artefact that a reader needs stands in the report.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.engines.select import load_engine
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.memory import Memory, measure_memory
from imago.edge_runtime.spec import InputSpec, ModelSpec
from imago.edge_runtime.stats import Percentiles
from imago.edge_runtime.system import Condition, System, read_condition, read_system
from imago.edge_runtime.types import Color, Frame

BENCH_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """runs: timed, warmup: untimed before. frame: ``(width, height)`` of the camera's picture.

    None: 640×480, whatever the model takes. memory: also measure memory (one more process).
    """

    runs: int = 200
    warmup: int = 20
    threads: int = 1
    frame: tuple[int, int] | None = None
    memory: bool = True

    def __post_init__(self) -> None:
        least = (("--runs", self.runs, 1), ("--warmup", self.warmup, 0), ("--threads", self.threads, 1))
        for name, value, lowest in least:
            if not lowest <= value <= 1_000_000:
                raise InputError(
                    "{name} {value} is not usable; expected {lowest} or more",
                    name=name,
                    value=value,
                    lowest=lowest,
                )


@dataclass(frozen=True, slots=True)
class BenchReport:
    """Everything measured. Times in µs unless the name says otherwise.

    stages: ``preprocess`` (frame → tensor), ``engine`` (tensor → probabilities), ``total`` (frame →
    prediction). load_ms: opening the file, the engine's library being loaded already; first_us: the first
    prediction after that. samples_us: the single totals, for drawing.
    """

    model: str
    sha256: str
    size_bytes: int
    spec: ModelSpec = field(repr=False)
    engine: str
    engine_version: str
    threads: int
    frame: tuple[int, int]
    frame_color: str
    warmup: int
    load_ms: float
    first_us: float
    stages: Mapping[str, Percentiles]
    memory: Memory | None
    system: System
    before: Condition
    after: Condition
    date: str
    samples_us: tuple[float, ...] = field(repr=False, default=())

    def to_dict(self) -> dict[str, Any]:
        """One JSON object with plain keys; ``p50_us`` … at top level are those of the whole way."""
        return {
            "bench_schema": BENCH_SCHEMA,
            "model": self.model,
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "name": self.spec.name,
            "precision": self.spec.precision,
            "input": list(self.spec.input.shape),
            "accuracy": [dict(figure) for figure in self.spec.accuracy],
            "engine": self.engine,
            "engine_version": self.engine_version,
            "threads": self.threads,
            "frame": list(self.frame),
            "frame_color": self.frame_color,
            "warmup": self.warmup,
            "load_ms": self.load_ms,
            "first_us": self.first_us,
            **self.stages["total"].to_dict(),
            "stages": {name: stage.to_dict() for name, stage in self.stages.items()},
            "peak_rss_mb": None if self.memory is None else self.memory.peak_rss_mb,
            "pss_mb": None if self.memory is None else self.memory.pss_mb,
            "start_to_first_ms": None if self.memory is None else self.memory.start_to_first_ms,
            "system": self.system.to_dict(),
            "before": asdict(self.before),
            "after": asdict(self.after),
            "date": self.date,
        }


def bench(
    model: Path | str, options: BenchOptions | None = None, *, spec: ModelSpec | None = None
) -> BenchReport:
    """Measure ``model`` (``spec``: the contract of a model that carries none).

    Raises ModelError where the file is not usable, InputError for impossible options.
    """
    options = options or BenchOptions()
    load_engine(model, options.threads).close()  # its library is loaded now, which load_ms is not about
    before = read_condition()
    start = time.perf_counter_ns()
    with Classifier(model, threads=options.threads, spec=spec) as classifier:
        load_ms = (time.perf_counter_ns() - start) / 1e6
        size = options.frame or (640, 480)
        frame = camera_frame(classifier.spec.input, size)
        first_us = _timed(lambda: classifier.predict(frame)) / 1e3
        times = interleaved(_stages(classifier, frame), runs=options.runs, warmup=options.warmup)
        after = read_condition()
        memory = None
        if options.memory:
            memory = measure_memory(model, spec=spec, threads=options.threads, size=size)
        data = Path(model).read_bytes()
        return BenchReport(
            model=Path(model).name,
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
            spec=classifier.spec,
            engine=classifier.engine.name,
            engine_version=classifier.engine.version,
            threads=options.threads,
            frame=size,
            frame_color=frame.color,
            warmup=options.warmup,
            load_ms=round(load_ms, 3),
            first_us=round(first_us, 1),
            stages={name: Percentiles.of(values) for name, values in times.items()},
            memory=memory,
            system=read_system(),
            before=before,
            after=after,
            date=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            samples_us=tuple(value / 1e3 for value in times["total"]),
        )


def interleaved(
    functions: Mapping[str, Callable[[], object]], *, runs: int, warmup: int = 20
) -> dict[str, list[int]]:
    """Nanoseconds of ``runs`` calls of each function, taken in turns, each round starting with another."""
    order = list(functions.items())
    for _ in range(warmup):
        for _, function in order:
            function()
    times: dict[str, list[int]] = {name: [] for name in functions}
    for run in range(runs):
        turn = run % len(order)
        for name, function in order[turn:] + order[:turn]:
            times[name].append(_timed(function))
    return times


def camera_frame(spec: InputSpec, size: tuple[int, int]) -> Frame:
    """What a camera would deliver: noise, grey for a grey model (the ISP's Y plane), else bgr."""
    color: Color = "gray" if spec.color == "gray" else "bgr"
    shape = (size[1], size[0]) if color == "gray" else (size[1], size[0], 3)
    return Frame(np.random.default_rng(0).integers(0, 256, shape, np.uint8), color)


def _stages(classifier: Classifier, frame: Frame) -> dict[str, Callable[[], object]]:
    tensor = np.array(classifier.prepare(frame))
    return {
        "preprocess": lambda: classifier.prepare(frame),
        "engine": lambda: classifier.engine.run(tensor),
        "total": lambda: classifier.predict(frame),
    }


def _timed(function: Callable[[], object]) -> int:
    start = time.perf_counter_ns()
    function()
    return time.perf_counter_ns() - start
