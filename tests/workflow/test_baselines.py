"""Classical classifiers as model files: the same answers as scikit-learn, the same contract as networks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.engines.ort import OrtEngine
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.spec import InputSpec
from imago.workflow.baselines.fit import Samples, fit, flat, softmax
from imago.workflow.baselines.graph import to_onnx
from imago.workflow.baselines.options import KINDS, BaselineOptions

from picture_support import striped_folders
from support import imago, need_data

FEW = BaselineOptions(trees=12)


def blobs(classes: int, channels: int, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noisy pictures 6×5 with one bright place per class: uint8 ``(n, 5, 6, C)`` and labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    images = rng.integers(0, 120, (count, 5, 6, channels)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[label % 5, label % 6] += 130
    return images, labels


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("classes", "channels"), [(2, 1), (5, 3)])
def test_the_file_answers_as_scikit_learn(kind: str, classes: int, channels: int) -> None:
    train, val = Samples.of(*blobs(classes, channels, 150)), Samples.of(*blobs(classes, channels, 60, 1))
    fitted = fit(kind, train, val, FEW)
    spec = InputSpec(6, 5, channels, "gray" if channels == 1 else "rgb")
    engine = OrtEngine(to_onnx(fitted, spec, classes).SerializeToString())
    images, labels = blobs(classes, channels, 80, 2)
    wanted = fitted.probabilities(Samples.of(images, labels))
    got = np.stack([engine.run(np.ascontiguousarray(i.transpose(2, 0, 1)[None])) for i in images])
    assert np.abs(got - wanted).max() < 1e-4
    assert np.allclose(got.sum(1), 1, atol=1e-5)
    assert (got.argmax(1) == labels).mean() > 0.8
    assert engine.input_dtype == "uint8"
    assert engine.classes == classes


def test_probabilities_are_scikit_learns_own() -> None:
    train = Samples.of(*blobs(3, 1, 90))
    for kind in ("knn", "forest"):
        fitted = fit(kind, train, Samples(train.x[:0], train.y[:0]), FEW)
        assert np.allclose(fitted.probabilities(train), fitted.model.predict_proba(train.x), atol=1e-6)
    machine = fit("svm", train, train, FEW)
    wanted = machine.model.decision_function(train.x / 255) / machine.temperature
    assert np.allclose(machine.probabilities(train), softmax(wanted.astype(np.float32)), atol=1e-4)


def test_pixels_are_laid_out_as_the_contract_says() -> None:
    images = np.arange(2 * 4 * 3 * 3, dtype=np.uint8).reshape(2, 4, 3, 3)
    assert np.array_equal(flat(images)[1], images[1].transpose(2, 0, 1).ravel().astype(np.float32))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kinds": ("tree",)}, "knn"),
        ({"size": 2}, "4 to 128"),
        ({"limit": 1}, "10 to"),
        ({"color": "x"}, "gray"),
    ],
)
def test_bad_options_are_told(wrong: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        BaselineOptions(**wrong)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict]:
    """The command on striped pictures."""
    folder = tmp_path_factory.mktemp("baseline")
    photos = striped_folders(folder / "photos")
    arguments = ["--size", "16", "--trees", "20", "--out", str(folder / "out"), "--json", "-"]
    said = imago("baseline", str(photos), *arguments)
    assert said.returncode == 0, said.stderr
    return photos, folder / "out", json.loads(said.stdout)


def test_the_command_measures_its_files(done: tuple[Path, Path, dict]) -> None:
    photos, out, result = done
    assert {row["kind"] for row in result["rows"]} == set(KINDS)
    assert sorted(p.name for p in out.iterdir()) == ["baseline.json", "forest.onnx", "knn.onnx", "svm.onnx"]
    for row in result["rows"]:
        again = imago("evaluate", row["model"], str(photos), "--json", "-")
        assert again.returncode == 0, again.stderr
        found = json.loads(again.stdout)
        assert (found["accuracy"], found["n"]) == (row["accuracy"], row["n"])


def test_each_file_carries_its_contract(done: tuple[Path, Path, dict]) -> None:
    photos, out, _ = done
    for kind in KINDS:
        with Classifier(out / f"{kind}.onnx") as classifier:
            spec = classifier.spec
            assert spec.labels == ("across", "竖直")
            assert spec.input.size == (16, 16)
            assert spec.selftest is not None
            test = spec.accuracy[0]
            assert test["split"] == "test"
            assert classifier(next((photos / "竖直").iterdir())).probabilities.sum() > 0.999
        text = (out / f"{kind}.onnx").read_bytes()
        assert str(photos).encode() not in text
        assert onnx.load(out / f"{kind}.onnx").producer_name == "imago"


def test_a_folder_that_exists_stays(done: tuple[Path, Path, dict]) -> None:
    photos, out, _ = done
    before = (out / "baseline.json").read_bytes()
    said = imago("baseline", str(photos), "--out", str(out), "--kind", "knn")
    assert said.returncode == 2
    assert "exists already" in said.stderr
    assert (out / "baseline.json").read_bytes() == before


def test_a_trained_network_stands_beside_them(done: tuple[Path, Path, dict], tmp_path: Path) -> None:
    photos, _, _ = done
    run = tmp_path / "run"
    trained = imago("train", str(photos), "--out", str(run), "--epochs", "2", "--threads", "1")
    assert trained.returncode == 0, trained.stderr
    said = imago(
        *("baseline", str(photos), "--kind", "knn", "--size", "8", "--run", str(run)),
        *("--out", str(tmp_path / "out"), "--json", "-"),
    )
    assert said.returncode == 0, said.stderr
    rows = {row["kind"]: row for row in json.loads(said.stdout)["rows"]}
    metrics = json.loads((run / "metrics.json").read_text())
    assert rows["lenet5"]["accuracy"] == metrics["test"]["accuracy"]
    assert rows["lenet5"]["n"] == rows["knn"]["n"]
    assert rows["lenet5"]["note"] == ""
    none = imago("baseline", str(photos), "--run", str(tmp_path), "--out", str(tmp_path / "other"))
    assert none.returncode == 2
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
@pytest.mark.data
def test_digits_are_read_as_well_as_the_textbooks_say(tmp_path: Path) -> None:
    """MNIST with 5,000 of the training pictures: nearest neighbours about 94 %, a linear border less."""
    said = imago(
        "baseline", str(need_data("mnist")), "--out", str(tmp_path / "out"), "--json", "-", timeout=900
    )
    assert said.returncode == 0, said.stderr
    found = {row["kind"]: row["accuracy"] for row in json.loads(said.stdout)["rows"]}
    assert found["knn"] > 0.92
    assert found["forest"] > 0.92
    assert 0.80 < found["svm"] < found["knn"]
