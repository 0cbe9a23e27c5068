"""``imago evaluate`` in real processes: figures against a count by hand, splits, clear words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import onnx_models
from support import imago, need_data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright and dark pictures, one of each mislabelled, and a model that knows bright from dark."""
    folder = tmp_path_factory.mktemp("evaluate")
    onnx_models.brightness(folder / "m.onnx")
    (folder / "labels.txt").write_text("bright\ndark\n", encoding="utf-8")
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 3), ("test", 10)):
        for label, level in (("bright", 200), ("dark", 40)):
            place = folder / "data" / split / label
            place.mkdir(parents=True)
            for number in range(count):
                shown = 240 - level if (split, number) == ("test", 0) else level
                picture = np.clip(rng.normal(shown, 12, (20, 24, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(picture).save(place / f"{number}.png")
    return folder


def test_figures_are_those_counted_by_hand(folder: Path) -> None:
    done = imago(
        "evaluate",
        str(folder / "m.onnx"),
        str(folder / "data"),
        "--labels",
        str(folder / "labels.txt"),
        "--json",
        "-",
    )
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert (data["accuracy"], data["n"], data["split"]) == (0.9, 20, "test")
    assert [(c["label"], c["recall"], c["n"]) for c in data["per_class"]] == [
        ("bright", 0.9, 10),
        ("dark", 0.9, 10),
    ]
    assert data["interval_95"][0] < 0.9 < data["interval_95"][1]
    assert "90.00%" in done.stderr
    assert "generated" not in done.stderr


def test_limit_draws_from_all_classes(folder: Path) -> None:
    done = imago(
        "evaluate",
        str(folder / "m.onnx"),
        str(folder / "data"),
        "--labels",
        str(folder / "labels.txt"),
        "--limit",
        "12",
        "--json",
        "-",
    )
    data = json.loads(done.stdout)
    assert (data["n"], data["of"]) == (12, 20)
    assert all(entry["n"] >= 1 for entry in data["per_class"])


def test_generated_data_are_called_so(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "generated"
    for picture in (folder / "data").rglob("*.png"):
        copy = place / picture.relative_to(folder / "data")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(picture.read_bytes())
    (place / "generated.json").write_text("{}", encoding="utf-8")
    done = imago("evaluate", str(folder / "m.onnx"), str(place), "--labels", str(folder / "labels.txt"))
    assert done.returncode == 0, done.stderr
    assert "generated" in done.stdout


def test_bad_input_is_one_line(folder: Path) -> None:
    model, data = str(folder / "m.onnx"), str(folder / "data")
    for args, words in (
        ([model, data], "--labels"),
        ([model, str(folder / "none"), "--labels", str(folder / "labels.txt")], "none"),
        ([model, data, "--labels", "2"], "differ"),
        ([model, data, "--labels", "2", "--split", "all"], "invalid choice"),
    ):
        done = imago("evaluate", *args)
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr
        assert not done.stdout


@pytest.mark.data
def test_mnist_model_of_others_is_as_good_as_known() -> None:
    model, mnist = need_data("models/mnist-8.onnx"), need_data("mnist")
    done = imago(
        "evaluate",
        str(model),
        str(mnist),
        "--labels",
        "10",
        "--input-color",
        "gray",
        "--limit",
        "3000",
        "--json",
        "-",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"] > 0.98
