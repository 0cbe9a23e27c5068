"""The shipped artefact on a data set: classes matched by name, pictures through the board's own path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.errors import DataError
from imago.train.dataset import Dataset, Split
from imago.train.evaluation import evaluate, label_order, predictions

import onnx_models
from picture_support import save
from support import ROOT


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    path = tmp_path_factory.mktemp("model") / "m.onnx"
    onnx_models.lenet(path, onnx_models.spec_of(("wasp", "ant", "bee")))
    return Classifier(path)


def photos(root: Path, classes: tuple[str, ...], labels: list[int]) -> Dataset:
    paths = tuple(f"{classes[label]}/{i}.png" for i, label in enumerate(labels))
    for seed, path in enumerate(paths):
        save(root / path, seed)
    split = Split(np.array(labels), paths=paths)
    return Dataset(root, "folders", classes, {"test": split}, "x")


def test_every_picture_counts_under_the_models_own_order(classifier: Classifier, tmp_path: Path) -> None:
    classes, labels = ("ant", "bee", "wasp"), [0, 1, 2, 2, 1, 0, 0]
    dataset = photos(tmp_path, classes, labels)
    result = evaluate(classifier, dataset, "test")
    assert result.labels == ("wasp", "ant", "bee")
    names = [classifier(tmp_path / path).label for path in dataset.splits["test"].paths]
    right = sum(classes[label] == name for label, name in zip(labels, names, strict=True))
    assert (result.n, result.accuracy) == (7, right / 7)
    assert [entry.n for entry in result.per_class] == [2, 3, 2]


def test_pictures_in_memory(classifier: Classifier) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
    split = Split(np.array([0, 1, 2, 0, 1]), images=images)
    dataset = Dataset(Path(), "idx", ("ant", "bee", "wasp"), {"test": split}, "x")
    probabilities, labels = predictions(classifier, dataset, "test")
    assert probabilities.shape == (5, 3)
    assert labels.tolist() == [1, 2, 0, 1, 2]
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)


def test_other_classes_are_named(classifier: Classifier, tmp_path: Path) -> None:
    dataset = photos(tmp_path, ("ant", "bee", "moth"), [0, 1, 2])
    with pytest.raises(DataError, match=r"only in the data: moth; only in the model: wasp"):
        evaluate(classifier, dataset, "test")
    with pytest.raises(DataError, match=r"… \(9\)"):
        label_order([str(i) for i in range(9)], ["x"])


def test_an_absent_split_is_named(classifier: Classifier, tmp_path: Path) -> None:
    dataset = photos(tmp_path, ("ant", "bee", "wasp"), [0])
    with pytest.raises(DataError, match="no pictures in its val split; it has: test"):
        evaluate(classifier, dataset, "val")


def test_a_board_needs_no_torch_for_it() -> None:
    code = "import sys, imago.train.evaluation; assert not {'torch', 'matplotlib'} & sys.modules.keys()"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT / ".dev")}
    )
