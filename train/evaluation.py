"""Accuracy of the artefact that is shipped, through the board's own preprocessing. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.errors import DataError
from imago.edge_runtime.imageio import read_image
from imago.edge_runtime.progress import Progress
from imago.edge_runtime.types import F32, Frame
from imago.train.dataset import Dataset, Split
from imago.train.metrics import I64, EvalResult, evaluate_probabilities

SHOWN = 5


def evaluate(
    classifier: Classifier, dataset: Dataset, split: str, progress: Progress | None = None
) -> EvalResult:
    """Figures of ``classifier`` on one split of ``dataset``, classes in the model's order.

    Raises DataError where the split is missing or empty, or the classes differ; InputError for a picture
    that cannot be read.
    """
    probabilities, labels = predictions(classifier, dataset, split, progress)
    return evaluate_probabilities(probabilities, labels, classifier.spec.labels)


def predictions(
    classifier: Classifier, dataset: Dataset, split: str, progress: Progress | None = None
) -> tuple[F32, I64]:
    """Probabilities float32 ``(n, classes)`` and true labels int64 ``(n,)``, both in the model's order.

    The pictures' order is the split's, so two models' answers can be compared picture by picture.
    """
    pictures = _split(dataset, split)
    order = label_order(dataset.classes, classifier.spec.labels)
    rows = np.empty((len(pictures), len(classifier.spec.labels)), np.float32)
    for index in range(len(pictures)):
        rows[index] = classifier.predict(frame_at(classifier, dataset, pictures, index)).probabilities
        if progress is not None:
            progress.advance()
    return rows, order[pictures.labels]


def frame_at(classifier: Classifier, dataset: Dataset, split: Split, index: int) -> Frame:
    """Picture ``index`` of a split, decoded as everywhere else."""
    if split.images is not None:
        return Frame(np.ascontiguousarray(split.images[index]), "gray")
    return read_image(dataset.root / split.paths[index], classifier.spec.input)


def label_order(classes: Sequence[str], labels: Sequence[str]) -> I64:
    """For every class of the data its index in the model, by name. Raises DataError where they differ."""
    unknown = [name for name in classes if name not in set(labels)]
    absent = [name for name in labels if name not in set(classes)]
    if unknown or absent:
        raise DataError(
            "the classes of the data and of the model differ (only in the data: {data}; only in the model: "
            "{model}); give the data that the model was trained for, or rename the class folders",
            data=_some(unknown),
            model=_some(absent),
        )
    place = {name: index for index, name in enumerate(labels)}
    return np.array([place[name] for name in classes], np.int64)


def _split(dataset: Dataset, name: str) -> Split:
    split = dataset.splits.get(name)
    if split is None or not len(split):
        present = ", ".join(key for key, value in dataset.splits.items() if len(value))
        raise DataError(
            "{path} has no pictures in its {split} split; it has: {present}",
            path=dataset.root,
            split=name,
            present=present or "–",
        )
    return split


def _some(names: Sequence[str]) -> str:
    text = ", ".join(names[:SHOWN])
    return (f"{text}, … ({len(names)})" if len(names) > SHOWN else text) or "–"
