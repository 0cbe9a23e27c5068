"""Which compressed model to hand out: gates first, then the Pareto front, then the fastest.

Everything here is arithmetic on measurements; nothing is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from imago.edge_runtime.errors import GateError, InputError
from imago.edge_runtime.messages import tr
from imago.quantize.paired import PairedDrop

TIE = 0.03  # latencies closer than this are the same on any machine that has other work
Precision = Literal["fp32", "int8", "int8-weights"]
Engine = Literal["onnx", "tflite"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a candidate is made. macs: share of the network's multiply–accumulates that pruning keeps."""

    macs: float = 1.0
    engine: Engine = "onnx"
    precision: Precision = "fp32"

    @property
    def name(self) -> str:
        """Short, unique, a file name."""
        pruned = "" if self.macs == 1.0 else f"macs{round(100 * self.macs)}-"
        return f"{pruned}{self.precision}-{self.engine}"

    @property
    def plain(self) -> bool:
        """The network as it was trained, which every other candidate has to beat."""
        return self == Recipe()


@dataclass(frozen=True, slots=True)
class Measured:
    """One model file with what was measured on it.

    accuracy: of the file on n validation pictures, 0..1. drop: against the plain model, same pictures.
    p50_us: engine alone, one thread, all candidates called in turn.
    """

    recipe: Recipe
    path: Path
    bytes: int
    accuracy: float
    drop: PairedDrop
    p50_us: float

    def dominated_by(self, other: Measured) -> bool:
        """Whether ``other`` is at least as good in all three and better in one."""
        mine = (-self.accuracy, self.p50_us, self.bytes)
        theirs = (-other.accuracy, other.p50_us, other.bytes)
        return all(t <= m for t, m in zip(theirs, mine, strict=True)) and theirs != mine

    def to_dict(self) -> dict[str, Any]:
        """JSON form; the file by name."""
        return {
            "name": self.recipe.name,
            "macs_kept": self.recipe.macs,
            "engine": self.recipe.engine,
            "precision": self.recipe.precision,
            "model": self.path.name,
            "bytes": self.bytes,
            "accuracy": self.accuracy,
            **self.drop.to_dict(),
            "p50_us": self.p50_us,
        }


@dataclass(frozen=True, slots=True)
class Gates:
    """What a candidate must keep to. max_drop: points of accuracy. max_latency_us, max_bytes: 0 for none."""

    max_drop: float = 0.5
    max_latency_us: float = 0.0
    max_bytes: int = 0

    def __post_init__(self) -> None:
        for name, value, high in (
            ("max-drop", self.max_drop, 100.0),
            ("max-latency", self.max_latency_us, 1e9),
            ("max-size", self.max_bytes, 1e12),
        ):
            if not 0 <= value <= high:
                raise InputError("--{name} is {value}; expected a number from 0 up", name=name, value=value)

    def failures(self, candidate: Measured) -> tuple[str, ...]:
        """Why a candidate is outside, as short texts; empty where it is inside."""
        found = []
        verdict = candidate.drop.verdict(self.max_drop)
        if not candidate.recipe.plain and verdict == "fail":
            found.append(
                tr("loses {drop} points, allowed are {max}", drop=_f(candidate.drop.drop), max=self.max_drop)
            )
        elif not candidate.recipe.plain and verdict == "too few":
            found.append(
                tr(
                    "may lose {drop} points: {n} pictures are too few to tell",
                    drop=_f(candidate.drop.interval[1]),
                    n=candidate.drop.n,
                )
            )
        if self.max_latency_us and candidate.p50_us > self.max_latency_us:
            found.append(tr("takes {ms} ms", ms=f"{candidate.p50_us / 1000:.2f}"))
        if self.max_bytes and candidate.bytes > self.max_bytes:
            found.append(tr("is {kb} kB large", kb=f"{candidate.bytes / 1000:.0f}"))
        return tuple(found)

    def excess(self, candidate: Measured) -> float:
        """How far outside a candidate is, all gates together, in parts of what is allowed."""
        points = 0.0 if candidate.recipe.plain else candidate.drop.interval[1] - self.max_drop
        over = max(0.0, points) / max(self.max_drop, 0.1)
        if self.max_latency_us:
            over += max(0.0, candidate.p50_us / self.max_latency_us - 1)
        if self.max_bytes:
            over += max(0.0, candidate.bytes / self.max_bytes - 1)
        return over


@dataclass(frozen=True, slots=True)
class Choice:
    """best: the file to use, or None where nothing is inside the gates. nearest: then, what came closest."""

    best: Measured | None
    nearest: Measured
    front: tuple[Measured, ...]


def pareto_front(candidates: Sequence[Measured]) -> tuple[Measured, ...]:
    """Candidates that no other dominates in accuracy, latency and size, fastest first."""
    kept = [c for c in candidates if not any(c.dominated_by(other) for other in candidates)]
    return tuple(sorted(kept, key=lambda c: (c.p50_us, c.bytes)))


def choose(candidates: Sequence[Measured], gates: Gates) -> Choice:
    """The fastest candidate inside the gates (among the equally fast the smallest).

    A candidate that the plain model dominates is never chosen. Raises ValueError without a plain model.
    """
    plain = next((c for c in candidates if c.recipe.plain), None)
    if plain is None:
        raise ValueError("the plain model must be among the candidates")
    front = pareto_front(candidates)
    inside = [c for c in candidates if not gates.failures(c) and not c.dominated_by(plain)]
    nearest = min(candidates, key=gates.excess)
    if not inside:
        return Choice(None, nearest, front)
    fastest = min(c.p50_us for c in inside)
    equal = [c for c in inside if c.p50_us <= fastest * (1 + TIE)]
    best = min(equal, key=lambda c: (c.bytes, c.p50_us))
    return Choice(best, best, front)


def explain(choice: Choice, candidates: Sequence[Measured], gates: Gates) -> str:
    """One paragraph for people: what was chosen, what it gains and costs, and why not something else."""
    plain = next(c for c in candidates if c.recipe.plain)
    if choice.best is None:
        return str(nothing_inside(choice, gates))
    if choice.best.recipe.plain:
        return tr("The plain fp32 model is the best choice: {reasons}.", reasons=_reasons(candidates, gates))
    best = choice.best
    low, high = best.drop.interval
    return tr(
        "{name}: {speed}× as fast and {size}× as small as the plain fp32 model, {drop} points of accuracy "
        "(95 % interval {low} to {high}, {n} validation pictures). It is the fastest of {inside} candidates "
        "inside the gates; {total} were measured.",
        name=best.recipe.name,
        speed=f"{plain.p50_us / best.p50_us:.1f}",
        size=f"{plain.bytes / best.bytes:.1f}",
        drop=f"{0.0 - best.drop.drop:+.2f}",
        low=f"{0.0 - high:+.2f}",
        high=f"{0.0 - low:+.2f}",
        n=best.drop.n,
        inside=sum(not gates.failures(c) for c in candidates),
        total=len(candidates),
    )


def nothing_inside(choice: Choice, gates: Gates) -> GateError:
    """What to raise where no candidate keeps to the gates."""
    return GateError(
        "nothing is inside the gates; nearest: {name}, which {why}; allow more (--max-drop, --max-latency, "
        "--max-size), or train a smaller or better network",
        name=choice.nearest.recipe.name,
        why=", ".join(gates.failures(choice.nearest)),
    )


def _reasons(candidates: Sequence[Measured], gates: Gates) -> str:
    others = [c for c in candidates if not c.recipe.plain]
    texts = [f"{c.recipe.name} {', '.join(gates.failures(c)) or tr('gains nothing')}" for c in others]
    return "; ".join(texts) or tr("there was nothing to compare it with")


def _f(points: float) -> str:
    return f"{points:.2f}"
