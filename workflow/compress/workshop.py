"""Where candidates are made: each step uses what an earlier one left on disk, or makes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import onnx

from imago.edge_runtime.classifier import Classifier
from imago.export.onnx_export import with_self_test, write_model
from imago.quantize.calibration import pictures
from imago.quantize.pruning.job import workspace
from imago.quantize.pruning.options import PruneOptions
from imago.quantize.pruning.session import prune
from imago.quantize.pruning.session import resume as resume_pruning
from imago.quantize.qat.session import QatOptions
from imago.quantize.session import QuantiseOptions, quantise_file
from imago.quantize.tflite import quantise_tflite
from imago.quantize.weight_only import with_int8_weights
from imago.train.checkpoint import WEIGHTS
from imago.train.dataset import Dataset
from imago.train.run import Run
from imago.workflow.compress.choose import Recipe
from imago.workflow.compress.options import CompressOptions
from imago.workflow.compress.state import Job
from imago.workflow.steps import export_run

FIRST_GUESS_S = {"fp32": 15.0, "int8": 60.0, "int8-weights": 5.0}  # before anything was timed


class Workshop:
    """Makes the file of any recipe. source: the finished run. dataset: what it was trained on."""

    def __init__(
        self,
        source: Path,
        dataset: Dataset,
        job: Job,
        options: CompressOptions,
        say: Callable[[str], None],
    ) -> None:
        self.source, self.dataset, self.job, self.options, self.say = source, dataset, job, options, say
        self._took: dict[str, list[float]] = {}

    def file(self, recipe: Recipe) -> Path:
        """The candidate's model file; made now where it is not there yet."""
        path = self.job.model(recipe)
        if path.is_file():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        if recipe.precision == "fp32":
            export_run(self._run(recipe.macs), path, overwrite=True, format=recipe.engine)
        else:
            self._quantise(recipe, path)
        return path

    def _run(self, macs: float) -> Path:
        """The run folder that keeps ``macs`` of the arithmetic."""
        if macs == 1.0:
            return self.source
        folder = self.job.pruned(macs)
        if workspace(folder).exists():
            resume_pruning(folder, say=self.say)
        elif not (folder / WEIGHTS).is_file():
            own = self.options
            options = PruneOptions(macs=macs, epochs=own.epochs, threads=own.threads, teacher=own.teacher)
            prune(self.source, options, folder, data=self.dataset.root, say=self.say)
        return folder

    def _quantise(self, recipe: Recipe, path: Path) -> None:
        """From the float file of the same network and format."""
        source = self.file(replace(recipe, precision="fp32"))
        if recipe.precision == "int8-weights" and recipe.engine == "onnx":
            _store_weights_as_int8(source, path, self.dataset)
            return
        options = QuantiseOptions(
            calibration=self.options.calibration,
            max_drop=self.options.gates.max_drop,
            data=Run.load(self.source).config.data,
            precision="int8-weights" if recipe.precision == "int8-weights" else "int8",
        )
        if recipe.engine == "tflite":
            quantise_tflite(source, self.dataset.root, path, options)
            return
        if self.options.qat_epochs:
            training = QatOptions(epochs=self.options.qat_epochs, threads=self.options.threads, unsure=False)
            options = replace(options, qat=training)
        quantise_file(source, self.dataset.root, path, options, say=self.say)

    def seconds_left(self, recipes: Sequence[Recipe]) -> float:
        """A guess from what similar steps took, and from how long an epoch of the run took."""
        return sum(self._guess(r) for r in recipes)

    def took(self, recipe: Recipe, seconds: float) -> None:
        """Learn how long a step took (retraining apart, which has its own guess)."""
        if recipe.precision != "fp32" or recipe.macs == 1.0:
            self._took.setdefault(recipe.precision, []).append(seconds)

    def _guess(self, recipe: Recipe) -> float:
        seen = self._took.get(recipe.precision)
        own = sum(seen) / len(seen) if seen else FIRST_GUESS_S[recipe.precision]
        retrained = recipe.precision == "fp32" and recipe.macs != 1.0 and recipe.engine == "onnx"
        return own + (self._retraining(recipe.macs) if retrained else 0.0)

    def _retraining(self, macs: float) -> float:
        """Seconds: the student costs its share of an epoch, the teacher's forward pass a third of one."""
        figures = json.loads((self.source / "metrics.json").read_text(encoding="utf-8"))
        epochs = max(1, int(figures["epochs"]))
        wanted = self.options.epochs or max(1, epochs // 2)
        return float(figures["seconds"]) / epochs * wanted * 1.4 * (macs + 1 / 3)


def _store_weights_as_int8(source: Path, path: Path, dataset: Dataset) -> None:
    """The same network and arithmetic from a file a quarter of the size."""
    with Classifier(source) as classifier:
        spec = classifier.spec
    model = with_int8_weights(onnx.load(source))
    images = pictures(dataset, "val", spec, 1).images
    fresh = replace(spec, precision="int8-weights", accuracy=(), selftest=None)
    write_model(model, with_self_test(model, fresh, images), path)
