"""How fast is this model file here? The discipline of MLPerf's single-stream scenario.

Several fresh processes, since each lays out its memory anew; in each the first inference apart, warm-up not
counted, then the steps of the loop on the clock where they happen. Percentiles instead of means, memory in a
process of its own, and everything about machine, engine and artefact that a reader needs in the report.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from imago.edge_runtime.bench_worker import STEPS, WorkerJob, WorkerResult, run_worker
from imago.edge_runtime.contract import read_spec
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.memory import Memory, measure_memory
from imago.edge_runtime.profile import Profile, profile
from imago.edge_runtime.spec import ModelSpec
from imago.edge_runtime.stats import Percentiles
from imago.edge_runtime.sustained import Sustained, sustain
from imago.edge_runtime.system import Condition, System, read_condition, read_system

BENCH_SCHEMA = 2
MOST_PROCESSES = 100


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """runs: timed, in all processes together; warmup: untimed before, in each process.

    threads: of one inference; others: further thread counts to measure, in turns with the first.
    frame: ``(width, height)`` of the camera's picture; None: 640×480, whatever the model takes.
    source: a real camera or video for the pictures; None: a picture in memory. memory: also measure memory
    (one more process). minutes: then run at full load so long; 0: not. profile: time by operator.
    """

    runs: int = 200
    warmup: int = 20
    threads: int = 1
    others: tuple[int, ...] = ()
    processes: int = 5
    frame: tuple[int, int] | None = None
    source: str | None = None
    memory: bool = True
    minutes: float = 0.0
    profile: bool = False

    def __post_init__(self) -> None:
        least = [("--runs", self.runs, 1), ("--warmup", self.warmup, 0), ("--processes", self.processes, 1)]
        least += [("--threads", count, 1) for count in (self.threads, *self.others)]
        for name, value, lowest in least:
            if not lowest <= value <= 1_000_000:
                raise InputError(
                    "{name} {value} is not usable; expected {lowest} or more",
                    name=name,
                    value=value,
                    lowest=lowest,
                )
        if self.processes > MOST_PROCESSES:
            raise InputError(
                "--processes {value} is too many; expected at most {most}",
                value=self.processes,
                most=MOST_PROCESSES,
            )

    @property
    def size(self) -> tuple[int, int]:
        """The picture's ``(width, height)``."""
        return self.frame or (640, 480)


@dataclass(frozen=True, slots=True)
class Measured:
    """Results of the processes with one thread count."""

    threads: int
    results: tuple[WorkerResult, ...]

    def times_ns(self, result: WorkerResult) -> dict[str, list[int]]:
        """The steps, and their sums: ``total``: frame → prediction; ``loop``: all steps."""
        steps = result.steps_ns
        total = [a + b for a, b in zip(steps["preprocess"], steps["engine"], strict=True)]
        whole = [sum(row) for row in zip(*(steps[name] for name in STEPS), strict=True)]
        return {**steps, "total": total, "loop": whole}

    def stages(self) -> dict[str, Percentiles]:
        """Over all runs of all processes."""
        times = [self.times_ns(result) for result in self.results]
        return {name: Percentiles.of([t for one in times for t in one[name]]) for name in times[0]}

    def process_p50_us(self) -> dict[str, tuple[float, ...]]:
        """p50 of each process: what ``compare`` compares."""
        each = [self.times_ns(result) for result in self.results]
        return {name: tuple(round(statistics.median(one[name]) / 1e3, 3) for one in each) for name in each[0]}


@dataclass(frozen=True, slots=True)
class BenchReport:
    """Everything measured. Times in µs unless the name says otherwise.

    stages: ``capture`` (picture handed over: a copy, or with a source the wait for it), ``preprocess``
    (frame → tensor), ``engine`` (tensor → probabilities), ``decide``, ``sink`` (one JSON line); ``total``:
    preprocess and engine; ``loop``: all. load_ms: opening the file, its library included; first_us: the
    first prediction after that (medians over the processes). start_to_first_ms: from the start of each
    process to its first answer; the first process may have found its files cold. samples_us: single totals.
    """

    model: str
    sha256: str
    size_bytes: int
    spec: ModelSpec = field(repr=False)
    engine: str
    engine_version: str
    threads: int
    source: str
    frame: tuple[int, int]
    frame_color: str
    warmup: int
    load_ms: float
    first_us: float
    start_to_first_ms: tuple[float, ...]
    stages: Mapping[str, Percentiles]
    process_p50_us: Mapping[str, tuple[float, ...]]
    sweep: Mapping[int, Percentiles]
    memory: Memory | None
    sustained: Sustained | None
    profile: Profile | None
    system: System
    before: Condition
    after: Condition
    date: str
    samples_us: tuple[float, ...] = field(repr=False, default=())

    def to_dict(self) -> dict[str, Any]:
        """One JSON object with plain keys; ``p50_us`` … at top level are those of ``total``."""
        memory = self.memory
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
            "source": self.source,
            "frame": list(self.frame),
            "frame_color": self.frame_color,
            "warmup": self.warmup,
            "load_ms": self.load_ms,
            "first_us": self.first_us,
            "start_to_first_ms": list(self.start_to_first_ms),
            **self.stages["total"].to_dict(),
            "stages": {name: stage.to_dict() for name, stage in self.stages.items()},
            "process_p50_us": {name: list(values) for name, values in self.process_p50_us.items()},
            "sweep": [{"threads": count, **total.to_dict()} for count, total in self.sweep.items()],
            "peak_rss_mb": None if memory is None else memory.peak_rss_mb,
            "pss_mb": None if memory is None else memory.pss_mb,
            "sustained": None if self.sustained is None else self.sustained.to_dict(),
            "profile": None if self.profile is None else self.profile.to_dict(),
            "system": self.system.to_dict(),
            "before": asdict(self.before),
            "after": asdict(self.after),
            "date": self.date,
        }


def bench(
    model: Path | str,
    options: BenchOptions | None = None,
    *,
    spec: ModelSpec | None = None,
    advance: Callable[[], None] = lambda: None,
    running: Callable[[float], None] = lambda seconds: None,
) -> BenchReport:
    """Measure ``model`` (``spec``: the contract of a model that carries none).

    advance: called after each process. running: told how long the run at full load has lasted. Raises
    ModelError where the file is not usable, InputError for impossible options.
    """
    options = options or BenchOptions()
    own, threads, size = spec or read_spec(model), options.threads, options.size
    before = read_condition()
    measured = _measure(model, options, spec, advance)
    main = measured[0]
    memory = measure_memory(model, spec=spec, threads=threads, size=size) if options.memory else None
    sustained = None
    if options.minutes:
        sustained = sustain(model, options.minutes, threads=threads, frame=size, spec=spec, advance=running)
    first, data = main.results[0], Path(model).read_bytes()
    return BenchReport(
        model=Path(model).name,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        spec=own,
        engine=first.engine,
        engine_version=first.engine_version,
        threads=threads,
        source=first.source,
        frame=(first.frame[0], first.frame[1]),
        frame_color=first.frame_color,
        warmup=options.warmup,
        load_ms=round(statistics.median(r.load_ms for r in main.results), 3),
        first_us=round(statistics.median(r.first_us for r in main.results), 1),
        start_to_first_ms=tuple(round(r.start_to_first_ms, 1) for r in main.results),
        stages=main.stages(),
        process_p50_us=main.process_p50_us(),
        sweep={m.threads: m.stages()["total"] for m in measured} if options.others else {},
        memory=memory,
        sustained=sustained,
        profile=profile(model, own.input, threads=threads) if options.profile else None,
        system=read_system(),
        before=before,
        after=read_condition(),
        date=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        samples_us=tuple(t / 1e3 for r in main.results for t in main.times_ns(r)["total"]),
    )


def _measure(
    model: Path | str, options: BenchOptions, spec: ModelSpec | None, advance: Callable[[], None]
) -> list[Measured]:
    """All processes; thread counts in turns, so that a hot or busy minute hits all alike."""
    counts = list(dict.fromkeys((options.threads, *options.others)))
    processes = min(options.processes, options.runs)
    results: dict[int, list[WorkerResult]] = {count: [] for count in counts}
    for number in range(processes):
        runs = options.runs // processes + (number < options.runs % processes)
        for count in counts:
            job = WorkerJob(
                model=str(model),
                threads=count,
                runs=runs,
                warmup=options.warmup,
                frame=options.size,
                spec=None if spec is None else spec.to_json(),
                source=options.source,
            )
            results[count].append(run_worker(job))
            advance()
    return [Measured(count, tuple(done)) for count, done in results.items()]


def interleaved(
    functions: Mapping[str, Callable[[], object]], *, runs: int, warmup: int = 20
) -> dict[str, list[int]]:
    """Nanoseconds of ``runs`` calls of each function, taken in turns, each round starting with another."""
    order: Sequence[tuple[str, Callable[[], object]]] = list(functions.items())
    for _ in range(warmup):
        for _, function in order:
            function()
    times: dict[str, list[int]] = {name: [] for name in functions}
    for run in range(runs):
        turn = run % len(order)
        for name, function in (*order[turn:], *order[:turn]):
            start = time.perf_counter_ns()
            function()
            times[name].append(time.perf_counter_ns() - start)
    return times
