"""``compress(run)``: many smaller versions of one trained network, measured; the best one inside the gates.

Every candidate is made (pruned and retrained, exported, quantised), its *file* is judged on the validation
pictures through the board's preprocessing, and all files are timed in turns. The test split is used once, at
the end, for the plain model and the chosen one. A compression that is stopped goes on where it was.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.bench import interleaved
from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.errors import DataError
from imago.edge_runtime.files import replacing, write_text
from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import duration
from imago.export.predict_script import predict_script
from imago.quantize.calibration import Pictures, pictures
from imago.quantize.paired import paired_drop
from imago.train.data.layouts import load_dataset
from imago.train.dataset import Dataset
from imago.train.interrupt import Interrupted
from imago.train.lineage import open_ancestor
from imago.workflow.compress.choose import Choice, Measured, Recipe, choose, explain, nothing_inside
from imago.workflow.compress.options import CompressOptions
from imago.workflow.compress.page import write_page
from imago.workflow.compress.state import Job, measured, row_of
from imago.workflow.compress.workshop import Workshop

Say = Callable[[str], None]
Timer = Callable[[Sequence[Path], int], Sequence[float]]  # files, runs → p50 of each in µs
Answers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CompressReport:
    """A finished compression. best: the file to use, copied out of ``models/``. final: rows of
    ``{name, accuracy, n}`` on the test split (empty where there is none)."""

    folder: Path
    best: Path
    choice: Choice
    candidates: tuple[Measured, ...]
    paragraph: str
    final: tuple[dict[str, Any], ...]
    generated: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        chosen = self.choice.best
        return {
            "best": str(self.best),
            "chosen": None if chosen is None else chosen.recipe.name,
            "reason": self.paragraph,
            "generated_data": self.generated,
            "candidates": [c.to_dict() for c in self.candidates],
            "front": [c.recipe.name for c in self.choice.front],
            "test": list(self.final),
        }


def compress(
    run: Path,
    out: Path,
    options: CompressOptions | None = None,
    *,
    data: Path | None = None,
    say: Say = lambda text: None,
    timer: Timer | None = None,
) -> CompressReport:
    """Compress the finished run in ``run``; files, pictures and ``report.html`` land in ``out``.

    data: where the run's data set is now (default: where it was). timer: times the files elsewhere, such as
    on a board (default: on this machine). Raises GateError where nothing is inside the gates (the report is
    written all the same), other ImagoErrors for what the user can mend, and Interrupted after Ctrl-C; the
    same call goes on.
    """
    options = options or CompressOptions()
    ancestor = open_ancestor(run)
    dataset = load_dataset(data or Path(ancestor.run.data["root"]), ancestor.run.config.data)
    if not len(dataset.splits.get("val", ())):
        raise DataError("{data} has no validation pictures to judge candidates by", data=dataset.name)
    job = Job(out, {"weights": ancestor.facts["weights"], "data": dataset.fingerprint, **options.making()})
    done = job.load()
    job.save(done)  # from now on the folder is known as ours, wherever this ends
    val = pictures(dataset, "val", ancestor.run.spec("val"))
    workshop = Workshop(ancestor.folder, dataset, job, options, say)
    _make_all(workshop, val, done, say)
    if timer is None:
        timer = partial(_timed_here, val)
    candidates = _timed(job, options, done, timer)
    return _finish(job, options, candidates, dataset, say)


def _make_all(workshop: Workshop, val: Pictures, done: dict[str, dict[str, Any]], say: Say) -> None:
    """Make and judge every candidate that is not done yet."""
    recipes = list(workshop.options.recipes())
    left = [r for r in recipes if r.name not in done]
    plain = _answers(_made(workshop, recipes[0]), val)
    for number, recipe in enumerate(left, 1 + len(recipes) - len(left)):
        began = time.monotonic()
        say(tr("{number}/{count} {name}", number=number, count=len(recipes), name=recipe.name))
        path = _made(workshop, recipe)
        answers = _answers(path, val)
        drop = paired_drop(val.labels, plain, answers)
        accuracy = float((answers == val.labels).mean())
        done[recipe.name] = row_of(path, accuracy, drop)
        workshop.job.save(done)
        workshop.took(recipe, time.monotonic() - began)
        say(_line(accuracy, path, workshop.seconds_left(left[left.index(recipe) + 1 :])))


def _made(workshop: Workshop, recipe: Recipe) -> Path:
    """The candidate's file; whoever stops here is told how to go on with the whole, not with a part."""
    try:
        return workshop.file(recipe)
    except (Interrupted, KeyboardInterrupt) as stop:
        raise Interrupted(
            "stopped while making {name}, nothing is lost; the same command goes on", name=recipe.name
        ) from stop


def _line(accuracy: float, path: Path, left: float) -> str:
    return tr(
        "    validation accuracy {accuracy}, {kb} kB; about {left} left",
        accuracy=f"{accuracy:.2%}",
        kb=f"{path.stat().st_size / 1000:.0f}",
        left=duration(left),
    )


def _answers(path: Path, val: Pictures) -> Answers:
    """The file's classes for the validation pictures, which the cache holds as the board would make them."""
    with Classifier(path) as classifier:
        tensors = val.tensors(classifier.spec.input.layout)
        return np.array([classifier.engine.run(row[None]).argmax() for row in tensors], np.int64)


def _timed(
    job: Job, options: CompressOptions, done: dict[str, dict[str, Any]], timer: Timer
) -> list[Measured]:
    recipes = [r for r in options.recipes() if r.name in done]
    times = timer([job.model(r) for r in recipes], options.runs)
    return [measured(job, r, done[r.name], p50) for r, p50 in zip(recipes, times, strict=True)]


def _timed_here(val: Pictures, files: Sequence[Path], runs: int) -> list[float]:
    """All files called in turns, so that a noisy moment hits all alike."""
    with ExitStack() as stack:
        classifiers = [stack.enter_context(Classifier(path)) for path in files]
        calls: dict[str, Callable[[], object]] = {}
        for path, classifier in zip(files, classifiers, strict=True):
            tensor = np.ascontiguousarray(val.tensors(classifier.spec.input.layout)[:1])
            calls[str(path)] = partial(classifier.engine.run, tensor)
        times = interleaved(calls, runs=runs)
    return [float(np.median(times[str(path)])) / 1000 for path in files]


def _finish(
    job: Job, options: CompressOptions, candidates: Sequence[Measured], dataset: Dataset, say: Say
) -> CompressReport:
    choice = choose(candidates, options.gates)
    paragraph = explain(choice, candidates, options.gates)
    final = _final(choice, candidates, dataset)
    page = write_page(
        job.folder,
        title=tr("{name}, compressed", name=dataset.name),
        candidates=candidates,
        choice=choice,
        gates=options.gates,
        paragraph=paragraph,
        final=final,
        generated=dataset.generated,
    )
    say(paragraph)
    say(tr("wrote {model}", model=page))
    if choice.best is None:
        raise nothing_inside(choice, options.gates)
    best = _hand_out(job, choice.best)
    return CompressReport(
        job.folder, best, choice, tuple(candidates), paragraph, tuple(final), dataset.generated
    )


def _final(choice: Choice, candidates: Sequence[Measured], dataset: Dataset) -> list[dict[str, Any]]:
    """Accuracy on the test split of the plain model and of the chosen one."""
    if choice.best is None or not len(dataset.splits.get("test", ())):
        return []
    plain = next(c for c in candidates if c.recipe.plain)
    rows = []
    for c in dict.fromkeys((plain, choice.best)):
        with Classifier(c.path) as classifier:
            test = pictures(dataset, "test", classifier.spec)
        accuracy = float((_answers(c.path, test) == test.labels).mean())
        rows.append({"name": c.recipe.name, "accuracy": accuracy, "n": len(test)})
    return rows


def _hand_out(job: Job, chosen: Measured) -> Path:
    """Copy the chosen file to ``best.onnx`` (or ``.tflite``), with its ``predict.py``."""
    target = job.folder / f"best{chosen.path.suffix}"
    with replacing(target) as temporary:
        shutil.copyfile(chosen.path, temporary)
    write_text(job.folder / "predict.py", predict_script(target.name))
    return target
