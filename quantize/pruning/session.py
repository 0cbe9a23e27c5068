"""``prune(run, options, out)``: cut, retrain, cut again, … until the goal is met; a run folder comes out.

Importance and statistics are measured on training pictures, accuracy on validation pictures. The test
split is used once, in the report of the last retraining, as for every run.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from imago.edge_runtime.errors import DataError
from imago.edge_runtime.messages import tr
from imago.quantize.calibration import pictures
from imago.quantize.paired import PairedDrop, paired_drop
from imago.quantize.pruning.cost import cost_of
from imago.quantize.pruning.goal import Cost
from imago.quantize.pruning.job import Job, begun, finished, open_job
from imago.quantize.pruning.options import PruneOptions
from imago.quantize.pruning.surgery import Feed, Patient
from imago.train import session
from imago.train.batches import Normalise
from imago.train.checkpoint import WEIGHTS, save_tensors
from imago.train.data.cache import CachedSplit, open_cache
from imago.train.data.layouts import load_dataset
from imago.train.dataset import Dataset
from imago.train.device import Place, choose_place
from imago.train.distill import check_teacher
from imago.train.interrupt import Interrupted
from imago.train.lineage import Ancestor, open_ancestor, require_same
from imago.train.models.registry import ModelConfig
from imago.train.results import ordered_batches
from imago.train.run import RUN_FILE, SAMPLE, Run
from imago.train.tally import predict_logits

Say = Callable[[str], None]
Answers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PruneReport:
    """A finished pruning. drop: validation accuracy lost, in points, on the same pictures (None: no
    validation split). facts: what ``run.json`` and the exported contract say about it."""

    folder: Path
    before: Cost
    after: Cost
    drop: PairedDrop | None
    facts: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"run": str(self.folder), **self.facts}


def prune(
    source: Path,
    options: PruneOptions,
    out: Path,
    *,
    data: Path | None = None,
    say: Say = lambda text: None,
) -> PruneReport:
    """Prune the finished run in ``source`` and leave a run in ``out``.

    data: where the run's data set is now (default: where it was). Raises ImagoError subclasses for what
    the user can mend, before anything is written where that is possible; Interrupted after Ctrl-C, with
    the state saved.
    """
    ancestor = open_ancestor(source)
    root = data or Path(ancestor.run.data["root"])
    job = Job(ancestor.folder, ancestor.facts["weights"], root.resolve(), out, options)
    job.require_free()
    work = _Work(job, ancestor, say)
    work.check()
    job.begin()
    return work.run()


def resume(out: Path, *, say: Say = lambda text: None) -> PruneReport:
    """Go on with an interrupted pruning. Raises InputError where its run has changed since."""
    job = open_job(out)
    ancestor = open_ancestor(job.source)
    require_same(ancestor, {"weights": job.weights})
    return _Work(job, ancestor, say).run()


class _Work:
    """One pruning: its pictures, and its steps."""

    def __init__(self, job: Job, ancestor: Ancestor, say: Say) -> None:
        self.job, self.ancestor, self.say = job, ancestor, say
        self.dataset = _dataset(job, ancestor.run)
        config = job.options.retraining(ancestor.run.config, 1, job.source, job.source)
        self.place: Place = choose_place(config)
        self.before = cost_of(ancestor.run.load_module(job.source), _config(ancestor.run))
        self.val: CachedSplit | None = None
        if len(self.dataset.splits.get("val", ())):
            self.val = open_cache(self.dataset, "val", ancestor.run.input)

    def check(self) -> None:
        """Raises InputError where the goal is out of reach or the network cannot be pruned."""
        run = self.ancestor.run
        check_teacher(open_ancestor(self.job.teacher), run.classes)
        patient = Patient(run.load_module(self.job.source), _config(run))
        self.job.options.require_possible(patient.cost, patient.least)
        patient.require(self.job.options.importance)

    def run(self) -> PruneReport:
        """All steps that are not done yet, then the figures."""
        steps = self.job.options.steps
        for step in range(1, steps + 1):
            try:
                if not finished(self.job.trained(step)):
                    self._cut(step)
                    self._retrain(step)
            except (Interrupted, KeyboardInterrupt) as stop:
                raise Interrupted(
                    "stopped in step {step} of {steps}, nothing is lost; "
                    "go on with: imago prune --resume {out}",
                    step=step,
                    steps=steps,
                    out=self.job.out,
                ) from stop
        return self._finish()

    def _cut(self, step: int) -> None:
        """Write the run folder of the narrower network; ``run.json`` last, which makes it whole."""
        folder, options = self.job.cut(step), self.job.options
        if (folder / RUN_FILE).is_file():
            return
        source = self.job.trained(step - 1)
        run = Run.load(source)
        patient = Patient(run.load_module(source), _config(run))
        config = patient.cut(options.goal(self.before, step), options.importance, self._feed(run))
        after = cost_of(patient.module, config)
        run = replace(
            run,
            model=config.to_dict(),
            results=self._results(run, patient.module),
            pruning=self._facts(after),
            temperature=1.0,
        )
        save_tensors(folder / WEIGHTS, patient.module.state_dict())
        shutil.copyfile(self.job.source / SAMPLE, folder / SAMPLE)
        run.save(folder)
        self.say(_step_line(step, options.steps, self.before, after))

    def _retrain(self, step: int) -> None:
        folder, last = self.job.trained(step), step == self.job.options.steps
        if begun(folder):
            session.resume(folder, test=last, say=self.say)
            return
        config = self.job.options.retraining(
            self.ancestor.run.config, step, init=self.job.cut(step), teacher=self.job.teacher
        )
        session.train(self.job.data, config, folder, test=last, say=self.say)

    def _finish(self) -> PruneReport:
        """Compare with the run that was pruned, on the same validation pictures, and write it down."""
        out, run = self.job.out, Run.load(self.job.out)
        module = run.load_module(out)
        after = cost_of(module, _config(run))
        facts, drop = self._facts(after), None
        if self.val is not None:
            whole = self.ancestor.run.load_module(self.job.source)
            answers = self._answers(self.ancestor.run, whole), self._answers(run, module)
            drop = paired_drop(self.val.labels, *answers)
            facts["accuracy"] = self._accuracy(*answers) | drop.to_dict()
        replace(
            run,
            config=replace(run.config, init=self.job.source),
            pruning=facts,
            lineage={**run.lineage, "init": self.ancestor.facts},
        ).save(out)
        self.job.end()
        return PruneReport(out, self.before, after, drop, facts)

    def _feed(self, run: Run) -> Feed:
        chosen = pictures(self.dataset, "train", run.spec("run"), self.job.options.pictures)
        return Feed(chosen, Normalise(run.mean, run.std), self.place.device)

    def _answers(self, run: Run, module: nn.Module) -> Answers:
        """Classes that ``module`` sees on the validation pictures: int64 ``(n,)``."""
        if self.val is None:
            raise ValueError("there is no validation split")
        logits, _ = predict_logits(
            module.to(self.place.device), ordered_batches(self.val, run, self.place), self.place
        )
        module.cpu()
        return np.asarray(logits.argmax(1), np.int64)

    def _accuracy(self, before: Answers, after: Answers | None = None) -> dict[str, Any]:
        if self.val is None:
            return {}
        labels = self.val.labels
        figures = {"before": before} if after is None else {"before": before, "after": after}
        return {"split": "val", "n": len(labels)} | {
            name: float((answers == labels).mean()) for name, answers in figures.items()
        }

    def _results(self, run: Run, module: nn.Module) -> tuple[dict[str, Any], ...]:
        """Validation accuracy in the form that ``Run.results`` has."""
        if self.val is None:
            return ()
        top1 = self._accuracy(self._answers(run, module))["before"]
        common = {"precision": "fp32", "generated": self.dataset.generated}
        return ({"split": "val", "n": len(self.val), "top1": top1, **common},)

    def _facts(self, after: Cost) -> dict[str, Any]:
        """For ``Run.pruning``: figures as ``{before, after}``, the run that is pruned first."""
        options, ancestor = self.job.options, self.ancestor
        own, less = self.before.to_dict(), after.to_dict()
        facts: dict[str, Any] = {
            "method": "structured",
            "importance": options.importance,
            "goal": options.asked(),
            "steps": options.steps,
            "from": {key: ancestor.facts[key] for key in ("name", "weights")},
            **{unit: {"before": own[unit], "after": less[unit]} for unit in own},
        }
        known = next((f for f in ancestor.run.results if f["split"] == "val"), None)
        if known is not None:
            facts["accuracy"] = {"split": "val", "n": known["n"], "before": known["top1"]}
        if ancestor.run.pruning:
            facts["earlier"] = ancestor.run.pruning
        return facts


def _config(run: Run) -> ModelConfig:
    return ModelConfig.from_dict(run.model)


def _dataset(job: Job, run: Run) -> Dataset:
    """The run's data set; raises DataError where its pictures are others than it was trained on."""
    dataset = load_dataset(job.data, run.config.data)
    if dataset.fingerprint != run.data["fingerprint"]:
        raise DataError(
            "the pictures in {path} are not those that {run} was trained on; give its data set with --data",
            path=dataset.root,
            run=job.source,
        )
    return dataset


def _step_line(step: int, steps: int, before: Cost, after: Cost) -> str:
    return tr(
        "step {step} of {steps}: {macs} of the MACs and {params} of the parameters are left",
        step=step,
        steps=steps,
        macs=f"{after.macs / before.macs:.1%}",
        params=f"{after.params / before.params:.1%}",
    )
