"""What a search found: its trials as rows, the one to take, and a paragraph that says why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from imago.edge_runtime.errors import GateError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import duration
from imago.train.config import TrainConfig
from imago.workflow.search.rungs import Entry, front
from imago.workflow.search.space import Space
from imago.workflow.search.storage import entry_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(frozen=True, slots=True)
class Row:
    """One trial for people and programs. config: what was tried. seconds: it took. folder: of its weights."""

    entry: Entry
    config: TrainConfig
    folder: str
    epochs: int = 0
    seconds: float = 0.0
    note: str = ""
    host: str = ""

    @property
    def title(self) -> str:
        """Network and input, as people read it."""
        return f"{self.config.network}, {self.config.size} px"

    def to_dict(self) -> dict[str, Any]:
        """JSON form: one element of ``trials`` in progress.json."""
        e, c = self.entry, self.config
        return {
            "number": e.number,
            "state": e.state,
            "note": self.note,
            "rung": e.rung,
            "goes_on_from": e.parent,
            "accuracy": e.accuracy,
            "p50_us": e.p50_us or None,
            "share": e.curve[-1][0] if e.curve else 0.0,
            "epochs": self.epochs,
            "seconds": round(self.seconds, 1),
            "model": c.model,
            "size": c.size,
            "width": c.width_mult,
            "stem": c.stem,
            "augment": c.augment,
            "optimizer": c.optimizer,
            "lr": c.lr,
            "batch_size": c.batch_size,
            "pretrained": c.pretrained or c.weights is not None,
            "freeze": c.freeze,
            "folder": self.folder,
            "host": self.host,
        }


@dataclass(frozen=True, slots=True)
class _Fixed:
    """The space's ``Chooser`` for a trial that was chosen before."""

    params: Mapping[str, Any] = field(default_factory=dict)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self.params[name]

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return float(self.params[name])


def rows_of(trials: Sequence[FrozenTrial], space: Space) -> list[Row]:
    """The trials whose settings are known by now (a waiting one has none yet)."""
    rows = []
    for trial in trials:
        try:
            config = space.choose(_Fixed(trial.params))
        except KeyError:
            continue
        attrs = trial.user_attrs
        rows.append(
            Row(
                entry_of(trial),
                config,
                str(attrs.get("folder", "")),
                int(attrs.get("epochs", 0)),
                float(attrs.get("seconds", 0.0)),
                str(attrs.get("note", "")),
                str(attrs.get("host", "")),
            )
        )
    return rows


def trial_line(row: Row) -> str:
    """What a finished trial says on the terminal."""
    e = row.entry
    accuracy = "  –   " if e.accuracy is None else f"{e.accuracy:6.1%}"
    ms = f"{e.p50_us / 1000:8.3f} ms" if e.p50_us else " " * 11
    ended = {
        "complete": tr("stage {stage}", stage=e.rung + 1),
        "stopped": {"slow": tr("too slow"), "late": tr("out of time")}.get(row.note, tr("fell behind")),
        "failed": tr("given up: {reason}", reason=row.note),
    }[e.state]
    return f"{e.number:4}  {accuracy}  {ms}  {row.title:<34} {ended}"


def allowed(rows: Sequence[Row], max_latency_us: float) -> list[Row]:
    """Complete trials inside the latency gate."""
    done = [r for r in rows if r.entry.state == "complete"]
    return [r for r in done if not max_latency_us or r.entry.p50_us <= max_latency_us]


def choose(rows: Sequence[Row], max_latency_us: float) -> Row:
    """The most accurate trial inside the gate, of equals the fastest, then the one trained longest.

    Raises GateError where there is none.
    """
    inside = allowed(rows, max_latency_us)
    if inside:
        return max(inside, key=lambda r: (r.entry.accuracy or 0.0, -r.entry.p50_us, r.entry.rung))
    timed = [r for r in rows if r.entry.p50_us]
    if not max_latency_us or not timed:
        raise GateError(
            "no trial came to its end within the time; give a larger --budget, smaller networks with "
            "--models, or fewer --epochs"
        )
    fastest = min(timed, key=lambda r: r.entry.p50_us)
    raise GateError(
        "none of {n} trials keeps to {limit} ms; the fastest, {name}, takes {ms} ms: allow more with "
        "--max-latency, or name smaller networks with --models",
        n=len(timed),
        limit=f"{max_latency_us / 1000:g}",
        name=fastest.title,
        ms=f"{fastest.entry.p50_us / 1000:.3f}",
    )


def pareto(rows: Sequence[Row]) -> list[Row]:
    """The rows on the front of accuracy and latency, fastest first; each setting by its longest training."""
    latest = {r.entry.parent for r in rows if r.entry.state == "complete"}
    last = [r for r in rows if r.entry.number not in latest]
    numbers = {e.number: k for k, e in enumerate(front([r.entry for r in last]))}
    return sorted((r for r in last if r.entry.number in numbers), key=lambda r: numbers[r.entry.number])


@dataclass(frozen=True, slots=True)
class Share:
    """An accuracy on ``n`` pictures with its 95 % interval, in shares."""

    accuracy: float
    n: int
    interval: tuple[float, float]

    @classmethod
    def of(cls, figures: Mapping[str, Any]) -> Share:
        """From a run's ``metrics.json``."""
        low, high = figures["interval_95"]
        return cls(float(figures["accuracy"]), int(figures["n"]), (float(low), float(high)))

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"accuracy": self.accuracy, "n": self.n, "interval_95": list(self.interval)}


@dataclass(frozen=True, slots=True)
class Winner:
    """The trial that was trained on, and what became of it. p50_us: of the exported file, at the end. finer:
    whether it was trained on with finer maps than as a trial."""

    row: Row
    val: Share
    test: Share | None
    p50_us: float
    seconds: float
    model: str
    finer: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            **self.row.to_dict(),
            "trial_accuracy": self.row.entry.accuracy,
            **self.val.to_dict(),
            "p50_us": self.p50_us,
            "finer": self.finer,
            "trained_on_s": round(self.seconds, 1),
            "model_file": self.model,
            "test": None if self.test is None else self.test.to_dict(),
        }


def explain(winner: Winner, rows: Sequence[Row], max_latency_us: float) -> str:
    """One paragraph: what won, why, how sure that is, and what else there would have been."""
    tried = sum(1 for r in rows if r.entry.parent is None and r.entry.state != "failed")
    low, high = winner.val.interval
    parts = [
        tr("{name} is the most accurate of {tried} settings tried.", name=winner.row.title, tried=tried)
        if not max_latency_us
        else tr(
            "{name} is the most accurate of {tried} settings tried that keep to {limit} ms.",
            name=winner.row.title,
            tried=tried,
            limit=f"{max_latency_us / 1000:g}",
        ),
        tr(
            "As a trial it had {before} of the validation pictures right; trained on for {time}, it has "
            "{accuracy} of {n} right (95 % interval {low} to {high}) and takes {ms} ms per picture.",
            before=f"{winner.row.entry.accuracy or 0:.1%}",
            time=duration(winner.seconds),
            accuracy=f"{winner.val.accuracy:.1%}",
            n=winner.val.n,
            low=f"{low:.1%}",
            high=f"{high:.1%}",
            ms=f"{winner.p50_us / 1000:.3f}",
        ),
    ]
    if winner.finer:
        parts.append(tr("Since it was a trial its first layers keep finer maps: slower, and learns more."))
    return " ".join([*parts, *_others(winner, rows, max_latency_us), *_stopped(rows), *_verdict(winner)])


def _stopped(rows: Sequence[Row]) -> list[str]:
    dropped = sum(1 for r in rows if r.entry.state == "stopped")
    if not dropped:
        return []
    return [tr("{n} trials were stopped early: too slow, or behind the others.", n=dropped)]


def _others(winner: Winner, rows: Sequence[Row], max_latency_us: float) -> list[str]:
    found = []
    rest = [r for r in allowed(rows, max_latency_us) if r.title != winner.row.title]
    if rest:
        second = max(rest, key=lambda r: r.entry.accuracy or 0.0)
        found.append(
            tr(
                "The best other network, {name}, had {accuracy} as a trial, at {ms} ms.",
                name=second.title,
                accuracy=f"{second.entry.accuracy or 0:.1%}",
                ms=f"{second.entry.p50_us / 1000:.3f}",
            )
        )
    return found


def _verdict(winner: Winner) -> list[str]:
    if winner.test is None:
        return []
    low, high = winner.test.interval
    return [
        tr(
            "The validation pictures chose it, so they flatter it; the test pictures, used once, say "
            "{accuracy} ({low} to {high}, {n} pictures).",
            accuracy=f"{winner.test.accuracy:.1%}",
            low=f"{low:.1%}",
            high=f"{high:.1%}",
            n=winner.test.n,
        )
    ]
