"""One worker of a search: takes the next trial, trains it, tells the others, until there is nothing to do.

Which trial: one that waits (first settings, or one whose worker went away); else the best of a rung trains
on; else new settings from the sampler. Workers know of each other only through the storage.
"""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imago.edge_runtime.errors import ImagoError
from imago.edge_runtime.messages import tr
from imago.train.checkpoint import CHECKPOINT, WEIGHTS
from imago.train.config import TrainConfig
from imago.train.data.layouts import load_dataset
from imago.train.dataset import Dataset
from imago.train.interrupt import Interrupted, StopWish
from imago.train.run import RUN_FILE, Run
from imago.train.session import train
from imago.workflow.search.coach import Curve, SearchCoach
from imago.workflow.search.latency import engine_file, engine_key, engine_p50_us
from imago.workflow.search.options import SearchOptions
from imago.workflow.search.rungs import GROWTH, Entry, lags, length_of, next_promotion, standard_error
from imago.workflow.search.space import Space
from imago.workflow.search.storage import (
    EXPORT_S,
    FIRST,
    OVER,
    SETTINGS,
    UNTIL,
    entries_of,
    open_storage,
    open_study,
    put_back,
    sampler,
    this_host,
)

if TYPE_CHECKING:
    from optuna import Study, Trial

TRIALS, ENGINES = "trials", "engines"
TELL_EVERY_S = 1.0
WRAP_UP_S = 1.5  # of a trial after its last step


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker works on. number: of this worker. threads: of its training (0: as the search says)."""

    data: Path
    storage: str
    study: str
    out: Path
    number: int = 0
    threads: int = 0
    device: str = "auto"


class Worker:
    """``run()`` returns the number of trials it finished. Raises Interrupted, its trial put back."""

    def __init__(self, job: Job, say: Callable[[str], None] = lambda text: None) -> None:
        self.job, self.say, self.stop = job, say, StopWish()
        self.study: Study = open_study(open_storage(job.storage), job.study)
        self.options = SearchOptions.from_dict(self.study.user_attrs[SETTINGS])
        self.study.sampler = sampler(self.options.seed + job.number)
        self.dataset: Dataset = load_dataset(job.data, self.options.data)
        self.space = Space.of(self.dataset, self.options)
        self.first = float(self.study.user_attrs[FIRST])
        self._told = 0.0

    def run(self) -> int:
        """Work until the search is over or there is nothing left to try."""
        done = 0
        with StopWish() as self.stop:
            while (trial := self._next()) is not None:
                try:
                    self._one(trial)
                    self._require_going_on()
                except (Interrupted, KeyboardInterrupt):
                    self._give_back(trial)
                    raise
                done += 1
        return done

    def _require_going_on(self) -> None:
        if self.stop.wished:
            raise Interrupted("stopped; the trial waits for another worker")

    def _next(self) -> Trial | None:
        """The next trial to run, or None."""
        entries = self._entries()
        if self._over() or not self._fits(0):
            return None
        waiting = any(e.state == "waiting" for e in entries)
        due = None if waiting else next_promotion(entries)
        if due is not None and self._fits(due.rung + 1):
            self._promote(due)
        elif not waiting and self._enough(entries):
            return None
        trial = self.study.ask()
        if self._superfluous(trial):
            self._fail(trial, "superfluous")
            return self._next()
        return trial

    def _over(self) -> bool:
        attrs = self.study.user_attrs
        return bool(attrs.get(OVER)) or time.time() >= float(attrs[UNTIL])

    def _fits(self, rung: int) -> bool:
        """Whether a trial of ``rung`` can end before the search does."""
        needed = 0.0 if self.options.epochs else length_of(rung, self.first)
        return time.time() + needed + WRAP_UP_S <= float(self.study.user_attrs[UNTIL])

    def _enough(self, entries: list[Entry]) -> bool:
        tried = sum(1 for e in entries if e.parent is None and e.state != "failed")
        return bool(self.options.trials) and tried >= self.options.trials

    def _promote(self, entry: Entry) -> None:
        frozen = self._trials()[entry.number]
        attrs = {"rung": entry.rung + 1, "parent": entry.number}
        self.study.enqueue_trial(dict(frozen.params), user_attrs=attrs)

    def _superfluous(self, trial: Trial) -> bool:
        """Two workers had the same idea at the same moment: the earlier number keeps it."""
        attrs = trial.user_attrs
        others = [t for t in self._trials() if t.number < trial.number and t.state.name != "FAIL"]
        if "folder" in attrs:
            return any(_folder_of(t.number, t.user_attrs) == attrs["folder"] for t in others)
        if "parent" in attrs:
            return any(t.user_attrs.get("parent") == attrs["parent"] for t in others)
        fresh = [t for t in others if "parent" not in t.user_attrs]
        return bool(self.options.trials) and len(fresh) >= self.options.trials

    def _one(self, trial: Trial) -> None:
        """From settings to an accuracy and a latency in the storage."""
        began = time.time()
        self._note(trial, host=this_host(), worker=self.job.number, began=began)
        try:
            config = self._config(trial)
            p50_us = self._latency(trial, config)
            self._note(trial, p50_us=p50_us)
            self._require_going_on()
            limit = self.options.max_latency_us
            if limit and p50_us > limit * 1.1:  # measured beside other work; what is near is timed again
                self._end(trial, "PRUNED", note="slow")
                return
            self._train(trial, config, p50_us)
        except Interrupted:
            raise
        except ImagoError as error:
            self._fail(trial, str(error))
        except (RuntimeError, ValueError, MemoryError, OSError) as error:
            # One impossible combination (or a full memory) must not end the search; the log has it all.
            self.say(traceback.format_exc())
            self._fail(trial, f"{type(error).__name__}: {error}"[:300])

    def _config(self, trial: Trial) -> TrainConfig:
        config = self.space.choose(trial)
        rung = int(trial.user_attrs.get("rung", 0))
        self._note(trial, rung=rung, folder=_folder_of(trial.number, trial.user_attrs))
        return replace(
            config,
            threads=self.job.threads or config.threads,
            device=self.job.device,
            seed=self.options.seed + 7919 * rung,  # else the same order and the same changes come again
        )

    def _latency(self, trial: Trial, config: TrainConfig) -> float:
        """Measured once for each network and size, by whoever comes first."""
        key = f"latency:{engine_key(config)}"
        known = self.study.user_attrs.get(key)
        if known is None:
            began = time.monotonic()
            path = engine_file(config, len(self.dataset.classes), self.job.out / ENGINES)
            self.study.set_user_attr(EXPORT_S, time.monotonic() - began)  # how long the end will take
            known = self.study.user_attrs.get(key) or engine_p50_us(path)
            self.study.set_user_attr(key, known)
        return float(known)

    def _train(self, trial: Trial, config: TrainConfig, p50_us: float) -> None:
        attrs = trial.user_attrs
        folder = self.job.out / TRIALS / str(attrs["folder"])
        config, length = self._length(trial, config)
        until = float(self.study.user_attrs[UNTIL])
        coach = SearchCoach(
            seconds=0.0 if self.options.epochs else min(length, until - time.time() - WRAP_UP_S),
            epochs=round(length) if self.options.epochs else 0,
            until=until,
            lags=lambda curve: self._lags(trial, p50_us, curve),
        )
        begun = (folder / RUN_FILE).is_file()
        if begun and (folder / WEIGHTS).is_file() and not (folder / CHECKPOINT).exists():
            accuracy, epochs = _finished(folder)  # the worker went away between the end and telling so
        else:
            config = Run.load(folder).config if begun else config
            outcome = train(
                self.job.data,
                replace(config, threads=self.job.threads or config.threads),
                folder,
                resume=begun,
                test=False,
                report=False,
                coach=coach,
                keep_start=config.init is not None,
                say=self.say,
            )
            accuracy, epochs = (0.0 if outcome.val is None else outcome.val.accuracy), outcome.epochs
        curve = [*coach.curve, (1.0, accuracy)] if not (coach.dropped or coach.late) else coach.curve
        self._note(trial, accuracy=accuracy, epochs=epochs, curve=curve, seconds=time.time() - attrs["began"])
        if coach.dropped or coach.late:
            self._end(trial, "PRUNED", note="late" if coach.late else "lagging")
            shutil.rmtree(folder, ignore_errors=True)
        else:
            self._end(trial, "COMPLETE", values=[accuracy, p50_us])

    def _length(self, trial: Trial, config: TrainConfig) -> tuple[TrainConfig, float]:
        """How long to train: on from the parent's weights, or all of it where they are on another machine."""
        rung, parent = int(trial.user_attrs["rung"]), trial.user_attrs.get("parent")
        if parent is None:
            return config, self.first * GROWTH**rung
        before = self._trials()[parent]
        folder = self.job.out / TRIALS / _folder_of(parent, before.user_attrs)
        if not (folder / WEIGHTS).is_file():
            return config, self.first * GROWTH**rung
        return going_on_from(folder, config), length_of(rung, self.first)

    def _lags(self, trial: Trial, p50_us: float, curve: Curve) -> bool:
        """At most once a second: epochs may be short, and every word to the others costs a write."""
        if time.monotonic() - self._told < TELL_EVERY_S:
            return False
        self._told = time.monotonic()
        self._note(trial, curve=list(curve), accuracy=curve[-1][1])
        doubt = standard_error(len(self.dataset.splits["val"]))
        share, best = curve[-1]
        rung = int(trial.user_attrs.get("rung", 0))
        network = str(trial.params["model"])
        mine = Entry(
            trial.number, "running", rung, p50_us=p50_us, curve=((share, best + doubt),), network=network
        )
        return lags(mine, self._entries())

    def _give_back(self, trial: Trial) -> None:
        put_back(self.study, self._trials()[trial.number], "stopped")

    def _fail(self, trial: Trial, note: str) -> None:
        self.say(tr("trial {number} failed: {reason}", number=trial.number, reason=note))
        self._end(trial, "FAIL", note=note)

    def _end(self, trial: Trial, state: str, *, note: str = "", values: list[float] | None = None) -> None:
        from optuna.trial import TrialState

        if note:
            self._note(trial, note=note)
        # Somebody may have given this trial up for lost: then the one that took it over counts.
        self.study.tell(trial, values, state=TrialState[state], skip_if_finished=True)

    def _note(self, trial: Trial, **facts: Any) -> None:
        from optuna.exceptions import UpdateFinishedTrialError

        for name, value in facts.items():
            try:
                trial.set_user_attr(name, value)
            except UpdateFinishedTrialError:
                return

    def _trials(self) -> list[Any]:
        return self.study.get_trials(deepcopy=False)

    def _entries(self) -> list[Entry]:
        return entries_of(self._trials())


def going_on_from(folder: Path, config: TrainConfig) -> TrainConfig:
    """``config`` for a training that starts from the finished run in ``folder``, which decides the rest."""
    return replace(
        config, init=folder, model="", size=0, stem=None, width_mult=None, pretrained=False, weights=None
    )


def _folder_of(number: int, attrs: dict[str, Any]) -> str:
    return str(attrs.get("folder", f"{number:04}"))


def _finished(folder: Path) -> tuple[float, int]:
    run = Run.load(folder)
    accuracy = next(float(f["top1"]) for f in run.results if f["split"] == "val")
    return accuracy, run.config.epochs
