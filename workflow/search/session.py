"""``search(data)``: try settings for a while on all cores, train the best on, hand it out with the reasons.

first settings that are sane → new ones from Optuna, the best third of each rung trained on (``rungs.py``)
→ the winner trained on for the rest of the time → exported, timed, and measured on the test split, once →
report.
A search that is stopped goes on where it was; its time counts over all sittings.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imago.edge_runtime.errors import DataError, ImagoError, InputError, StorageError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import Progress, duration
from imago.train.data.layouts import load_dataset
from imago.train.dataset import Dataset
from imago.train.interrupt import Interrupted, StopWish
from imago.workflow.search.conclude import Conclusion
from imago.workflow.search.crew import Crew
from imago.workflow.search.live import Live
from imago.workflow.search.options import SearchOptions
from imago.workflow.search.outcome import Row, Winner, rows_of, trial_line
from imago.workflow.search.record import read_state, write_state
from imago.workflow.search.rungs import FIRST_RUNG, GROWTH, RUNGS, first_length
from imago.workflow.search.space import Space
from imago.workflow.search.storage import (
    DATA,
    EXPORT_S,
    FIRST,
    JOURNAL,
    OVER,
    SETTINGS,
    UNTIL,
    Silence,
    mend_journal,
    open_storage,
    open_study,
    put_back,
    this_host,
)

if TYPE_CHECKING:
    from optuna import Study

SEARCH_SHARE = 0.55  # of the budget goes into trials, the rest into the winner
LOOK_EVERY_S = 0.3
GRACE_S = 5.0  # trials end by themselves when time is up; whoever has not by then is stopped
SILENCE_S = 300.0  # and the time of the longest trial: then another machine is given up for lost
FAILURES = 5  # without a success, and there is something wrong that is not one trial's fault
BY_DESIGN = ("superfluous", "stopped", "lost")
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SearchReport:
    """A finished search. run: folder of the winner, a run like any other; model: its ONNX file."""

    folder: Path
    run: Path
    model: Path
    winner: Winner
    rows: tuple[Row, ...]
    paragraph: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "folder": str(self.folder),
            "run": str(self.run),
            "model": str(self.model),
            "reason": self.paragraph,
            "seconds": round(self.seconds, 1),
            "winner": self.winner.to_dict(),
            "trials": [r.to_dict() for r in self.rows],
        }


def search(
    data: Path,
    options: SearchOptions,
    out: Path,
    *,
    storage: str | None = None,
    say: Say = lambda text: None,
) -> SearchReport:
    """Begin a search on the pictures in ``data``; everything lands in ``out``.

    storage: file or URL of the trials (default: ``out/trials.journal``). Raises GateError where nothing keeps
    to the latency, other ImagoErrors for what the user can mend, Interrupted after Ctrl-C.
    """
    if out.exists() and any(out.iterdir()):
        raise StorageError(
            "{path} exists already; choose another --out, or go on with --resume {path}", path=out
        )
    began = time.monotonic()
    dataset = _loaded(data, options)
    place = storage or str(out / JOURNAL)
    name = study_name(dataset)

    def create(study: Study) -> None:
        workers, _ = options.crew
        length = float(options.epochs) or first_length(options.budget_s * SEARCH_SHARE, workers)
        facts = {SETTINGS: options.to_dict(), DATA: dataset.fingerprint, FIRST: length, UNTIL: 0.0}
        for key, value in facts.items():
            study.set_user_attr(key, value)
        first = Space.of(dataset, options).first()
        for params in first[: options.trials or None]:
            study.enqueue_trial(params, user_attrs={"rung": FIRST_RUNG})

    study = open_study(open_storage(place), name, create=create)
    write_state(out, dataset, storage=storage, study=name, settings=options.to_dict())
    return _Sitting(dataset, options, out, place=place, study=study, say=say).run(time.monotonic() - began)


def resume(out: Path, *, budget_s: float | None = None, say: Say = lambda text: None) -> SearchReport:
    """Go on with the search in ``out``; budget_s: in all, where it is not to be what it was."""
    state = read_state(out)
    options = SearchOptions.from_dict(state["settings"])
    if budget_s is not None:
        options = replace(options, budget_s=budget_s)
    dataset = _loaded(Path(state["data"]), options)
    if dataset.fingerprint != state["fingerprint"]:
        raise DataError(
            "the pictures in {path} have changed since this search began; start a new one", path=dataset.root
        )
    place = state["storage"] or str(out / JOURNAL)
    if state["storage"] is None:
        mend_journal(out / JOURNAL)
    study = open_study(open_storage(place), state["study"])
    return _Sitting(dataset, options, out, place=place, study=study, say=say).run()


def study_name(dataset: Dataset) -> str:
    """How the search of these pictures is called in a storage, on every machine."""
    return f"imago-{dataset.fingerprint[:16]}"


def _loaded(data: Path, options: SearchOptions) -> Dataset:
    dataset = load_dataset(data, options.data)
    if not len(dataset.splits.get("val", ())):
        raise DataError("{data} has no validation pictures to judge candidates by", data=dataset.name)
    return dataset


class _Sitting:
    """One process's share of a search, from wherever it stands to its end."""

    def __init__(
        self, dataset: Dataset, options: SearchOptions, out: Path, *, place: str, study: Study, say: Say
    ) -> None:
        self.dataset, self.options, self.out, self.place = dataset, options, out, place
        self.study, self.say = study, say
        self.space = Space.of(dataset, options)
        self.live = Live(out, options)
        self._told: set[int] = set()

    def run(self, already_s: float = 0.0) -> SearchReport:
        """Trials, then the winner; raises Interrupted with everything saved."""
        self.live.add(already_s)
        try:
            rows = self._trials()
            export_s = float(self.study.user_attrs.get(EXPORT_S, 0.0))
            end = Conclusion(
                self.out, self.dataset, self.options, live=self.live, export_s=export_s, say=self.say
            )
            done = end.run(rows)
        except (Interrupted, KeyboardInterrupt) as stop:
            self.live.write("stopped", self.rows(), now=True)
            raise Interrupted(
                "stopped, nothing is lost; go on with: imago search --resume {folder}", folder=self.out
            ) from stop
        except ImagoError as error:
            self.live.write("failed", self.rows(), message=str(error), now=True)
            raise
        report = SearchReport(
            self.out, done.run, done.model, done.winner, done.rows, done.paragraph, self.live.spent_s
        )
        self.live.write("done", done.rows, message=done.paragraph, result=report.to_dict(), now=True)
        return report

    def rows(self) -> list[Row]:
        """All trials by now."""
        return rows_of(self.study.get_trials(deepcopy=False), self.space)

    def _trials(self) -> list[Row]:
        left = self.options.budget_s * SEARCH_SHARE - self.live.spent_s
        if left <= 0 or self.study.user_attrs.get(OVER):
            return self.rows()
        self._put_back()
        until = time.time() + left
        self.study.set_user_attr(UNTIL, until)
        workers, threads = self._crew_size()
        self.say(
            tr(
                "searching for {time} with {workers} workers of {threads} threads, then training the best",
                time=duration(left),
                workers=workers,
                threads=threads,
            )
        )
        with StopWish() as stop, Progress(round(left), tr("searching")) as bar:
            crew = Crew(self._command(threads), workers, self.out, self._put_back)
            try:
                self._watch(crew, stop, until, bar)
            finally:
                self.study.set_user_attr(UNTIL, time.time())
                crew.stop()
        if stop.wished:
            raise KeyboardInterrupt
        self.study.set_user_attr(OVER, True)
        self._tell(self.rows())
        return self.rows()

    def _crew_size(self) -> tuple[int, int]:
        if self.options.workers == 0 and self.options.device != "cpu":
            import torch

            if torch.cuda.is_available() or torch.backends.mps.is_available():
                return 1, self.options.threads or os.cpu_count() or 1
        return self.options.crew

    def _watch(self, crew: Crew, stop: StopWish, until: float, bar: Progress) -> None:
        began, shown = time.monotonic(), 0
        silence = Silence(SILENCE_S + GROWTH**RUNGS * float(self.study.user_attrs[FIRST]))
        while not stop.wished and time.time() < until + GRACE_S:
            alive = crew.alive()
            for trial in silence.gone(self.study.get_trials(deepcopy=False), time.monotonic()):
                put_back(self.study, trial, "lost")
            rows = self.rows()
            self._stop_if_hopeless(rows)
            bar.clear()
            self._tell(rows)
            passed = round(time.monotonic() - began)
            bar.advance(passed - shown, self._note(rows))
            shown = passed
            self.live.write("searching", rows, workers=alive)
            if not alive:
                return
            time.sleep(LOOK_EVERY_S)  # a worker's end and a signal are looked for; nothing else wakes it

    def _note(self, rows: Sequence[Row]) -> str:
        done = [r for r in rows if r.entry.state == "complete"]
        best = max((r.entry.accuracy or 0.0 for r in done), default=0.0)
        return tr("{n} trials, best {accuracy}", n=len(done), accuracy=f"{best:.1%}")

    def _tell(self, rows: Sequence[Row]) -> None:
        """One line for each trial that ended since the last look."""
        for row in rows:
            e = row.entry
            if e.number in self._told or e.state in ("waiting", "running") or row.note in BY_DESIGN:
                continue
            self._told.add(e.number)
            self.say(trial_line(row))

    def _stop_if_hopeless(self, rows: Sequence[Row]) -> None:
        failed = [r for r in rows if r.entry.state == "failed" and r.note not in BY_DESIGN]
        if len(failed) >= FAILURES and not any(r.entry.state == "complete" for r in rows):
            raise InputError(
                "the first {n} trials all failed, the last one with: {reason}",
                n=len(failed),
                reason=failed[-1].note,
            )

    def _put_back(self, worker: int | None = None) -> None:
        """The trials of a worker of this machine that is gone (None: all are) wait again."""
        for trial in self.study.get_trials(deepcopy=False):
            attrs = trial.user_attrs
            mine = attrs.get("host") == this_host() and worker in (None, attrs.get("worker"))
            if trial.state.name == "RUNNING" and mine:
                put_back(self.study, trial, "lost")

    def _command(self, threads: int) -> Callable[[int], list[str]]:
        fixed = ["--join", "--storage", self.place, "--out", str(self.out), "--device", self.options.device]
        fixed += ["--study", self.study.study_name]
        start = [sys.executable, "-P", "-m", "imago.cli.main", "search", str(self.dataset.root)]
        return lambda number: [*start, *fixed, "--threads", str(threads), "--worker", str(number)]
