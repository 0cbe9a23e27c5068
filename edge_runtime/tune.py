"""Which of these model files, with how many threads, is best on this very board?

No engine, precision or thread count wins everywhere (int8 is slower than fp32 on many boards), so the
candidates are measured here: each in fresh processes, in interleaved rounds, so that a hot or busy minute
hits all alike. A gate on accuracy comes first; time decides among what passes; where times cannot be told
apart, fewer threads and then higher accuracy decide.
"""

from __future__ import annotations

import hashlib
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imago.edge_runtime.accuracy_gate import NO_GATE, Accuracy, judge, refusal
from imago.edge_runtime.bench_worker import WorkerJob, WorkerResult, run_worker
from imago.edge_runtime.compare import NEGLIGIBLE
from imago.edge_runtime.contract import read_spec
from imago.edge_runtime.errors import GateError, InputError
from imago.edge_runtime.spec import ModelSpec

MOST_CANDIDATES = 200


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """threads: thread counts to try. max_drop: accuracy that may be lost against the most accurate file, in
    points. rounds: fresh processes for each candidate; runs: timed inferences in each, warmup: untimed ones.
    frame: ``(width, height)`` of the camera's picture."""

    threads: tuple[int, ...] = (1, 2, 4)
    max_drop: float = 0.5
    rounds: int = 5
    runs: int = 40
    warmup: int = 10
    frame: tuple[int, int] = (640, 480)

    def __post_init__(self) -> None:
        least = [("--rounds", self.rounds), ("--runs", self.runs), *(("--threads", t) for t in self.threads)]
        for name, value in least:
            if not 1 <= value <= 100_000:
                raise InputError(
                    "{name} {value} is not usable; expected {lowest} or more",
                    name=name,
                    value=value,
                    lowest=1,
                )
        if not 0 <= self.max_drop <= 100:
            raise InputError("--max-drop is {drop}; expected 0 to 100 points", drop=self.max_drop)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model file with one thread count. p50_us: median over the rounds of frame → prediction; rounds_us:
    p50 of each round. refused: why it cannot be chosen, translated; empty where it can."""

    model: Path
    sha256: str
    precision: str
    engine: str
    engine_version: str
    threads: int
    accuracy: Accuracy
    rounds_us: tuple[float, ...]
    refused: str = ""

    @property
    def p50_us(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.rounds_us)

    def to_dict(self) -> dict[str, Any]:
        """JSON form; the file by its name."""
        return {**asdict(self), "model": self.model.name, "p50_us": round(self.p50_us, 2)}


@dataclass(frozen=True, slots=True)
class Tuning:
    """Everything measured, fastest first, and what was chosen."""

    candidates: tuple[Candidate, ...]
    chosen: Candidate


def tune(
    models: Sequence[Path],
    options: TuneOptions | None = None,
    *,
    advance: Callable[[str], None] = lambda name: None,
) -> Tuning:
    """Measure ``models`` here. advance: called with a name before each process.

    Raises InputError for files that do not belong together, ModelError for files that cannot be used,
    GateError where no file passes the accuracy gate.
    """
    options = options or TuneOptions()
    specs = _contracts(models, options)
    accuracies = judge(specs)
    gate = options.max_drop if len(specs) > 1 else NO_GATE
    keys = [(path, count) for path in specs for count in dict.fromkeys(options.threads)]
    results: dict[tuple[Path, int], list[WorkerResult]] = {key: [] for key in keys}
    for number in range(options.rounds):
        for path, count in keys[number % len(keys) :] + keys[: number % len(keys)]:
            advance(f"{path.name} × {count}")
            job = WorkerJob(str(path), count, options.runs, options.warmup, options.frame)
            results[path, count].append(run_worker(job))
    digests = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in specs}
    measured = [
        Candidate(
            model=path,
            sha256=digests[path],
            precision=specs[path].precision,
            engine=done[0].engine,
            engine_version=done[0].engine_version,
            threads=count,
            accuracy=accuracies[path],
            rounds_us=tuple(round(_p50_us(result), 2) for result in done),
            refused=refusal(accuracies[path], gate),
        )
        for (path, count), done in results.items()
    ]
    return Tuning(tuple(sorted(measured, key=lambda c: c.p50_us)), choose(measured))


def available_threads() -> tuple[int, ...]:
    """1, 2, 4 as far as this process may use as many cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return tuple(count for count in (1, 2, 4) if count <= cores)


def choose(candidates: Sequence[Candidate]) -> Candidate:
    """The fastest that passes; among equals (within the measurement) fewer threads, then more accuracy.

    Raises GateError where none passes.
    """
    passing = [candidate for candidate in candidates if not candidate.refused]
    if not passing:
        raise GateError(
            "no model file passes the accuracy gate ({reason}); give others, or a larger --max-drop",
            reason="; ".join(dict.fromkeys(f"{c.model.name}: {c.refused}" for c in candidates)),
        )
    fastest = min(passing, key=lambda c: c.p50_us)
    equal = [c for c in passing if _not_slower(c, fastest)]
    return min(equal, key=lambda c: (c.threads, -(c.accuracy.top1 or 0), c.p50_us))


def _not_slower(candidate: Candidate, fastest: Candidate) -> bool:
    """Round by round against the fastest: not slower by more than what two builds of the same code differ."""
    ratios = [a / b for a, b in zip(candidate.rounds_us, fastest.rounds_us, strict=True)]
    return statistics.median(ratios) <= NEGLIGIBLE


def _contracts(models: Sequence[Path], options: TuneOptions) -> dict[Path, ModelSpec]:
    specs = {path: read_spec(path) for path in dict.fromkeys(models)}
    if not specs or len(specs) * len(options.threads) > MOST_CANDIDATES:
        raise InputError("give 1 to {most} candidates (files × thread counts)", most=MOST_CANDIDATES)
    first_path, first = next(iter(specs.items()))
    for path, spec in specs.items():
        if spec.labels != first.labels:
            raise InputError(
                "{path} and {other} name different classes; give files of the same task",
                path=path,
                other=first_path,
            )
    return specs


def _p50_us(result: WorkerResult) -> float:
    steps = result.steps_ns
    return statistics.median(a + b for a, b in zip(steps["preprocess"], steps["engine"], strict=True)) / 1e3
