"""``imago predict`` and the flags for foreign models, in real processes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import onnx_models
from support import imago, need_data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with contract, one without, three pictures (one of them broken)."""
    folder = tmp_path_factory.mktemp("predict")
    names = {"zh": ("蚂蚁", "蜜蜂", "黄蜂")}
    onnx_models.lenet(folder / "m.onnx", onnx_models.spec_of(display_names=names))
    onnx_models.brightness(folder / "foreign.onnx")
    (folder / "photos").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    Image.fromarray(noise).save(folder / "photos" / "é 蜂.png")
    Image.fromarray(noise // 2).save(folder / "photos" / "b.jpg")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    return folder


def test_one_json_object_and_nothing_else(folder: Path) -> None:
    done = imago("predict", str(folder / "m.onnx"), str(folder / "photos"), "--top", "3", "--json", "-")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["n"] == 2
    first = data["predictions"][1]
    assert Path(first["path"]).name == "é 蜂.png"
    assert first["label"] == first["top"][0]["label"]
    assert sum(score["confidence"] for score in first["top"]) == pytest.approx(1, abs=1e-4)
    assert "é 蜂.png" in done.stderr


def test_people_read_lines_in_their_language(folder: Path) -> None:
    english = imago("predict", str(folder / "m.onnx"), str(folder / "photos"))
    chinese = imago("predict", str(folder / "m.onnx"), str(folder / "photos"), env={"IMAGO_LANG": "zh"})
    assert len(english.stdout.splitlines()) == 2
    assert any(label in english.stdout for label in onnx_models.LABELS)
    assert any(label in chinese.stdout for label in ("蚂蚁", "蜜蜂", "黄蜂"))


def test_a_broken_picture_is_named_and_the_others_answered(folder: Path) -> None:
    done = imago(
        "predict", str(folder / "m.onnx"), str(folder / "broken.jpg"), str(folder / "photos"), "--json", "-"
    )
    assert done.returncode == 2
    data = json.loads(done.stdout)
    assert (data["n"], data["errors"]) == (2, 1)
    assert "broken.jpg" in done.stderr
    assert "Traceback" not in done.stderr


def test_foreign_model(folder: Path) -> None:
    model, photos = str(folder / "foreign.onnx"), str(folder / "photos")
    bare = imago("predict", model, photos)
    assert bare.returncode == 2
    assert len(bare.stderr.splitlines()) == 1
    assert "--labels" in bare.stderr
    (folder / "labels.txt").write_text("bright\ndark\n", encoding="utf-8")
    named = imago("predict", model, photos, "--labels", str(folder / "labels.txt"), "--json", "-")
    assert named.returncode == 0
    assert json.loads(named.stdout)["predictions"][0]["label"] == "dark"
    assert "assumed: " in named.stderr
    wrong = imago("predict", model, photos, "--labels", "3")
    assert wrong.returncode == 2
    assert "3 labels" in wrong.stderr
    assert "2 outputs" in wrong.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["none.onnx", "photos"], "no such model"),
        (["m.onnx", "none.jpg"], "no such picture"),
        (["m.onnx", "photos", "--labels", "3"], "carries its own contract"),
        (["m.onnx", "photos", "--top", "0"], "no whole number"),
        (["foreign.onnx", "photos", "--labels", "2", "--input-mean", "a"], "no list of numbers"),
        (["foreign.onnx", "photos", "--labels", "2", "--input-size", "9x"], "no size"),
        (["foreign.onnx", "photos", "--labels", "2", "--input-std", "0"], "std"),
        (["m.onnx"], "--help explains"),
    ],
)
def test_bad_input_is_one_line(folder: Path, args: list[str], words: str) -> None:
    places = [str(folder / arg) if "." in arg or arg == "photos" else arg for arg in args]
    done = imago("predict", *places)
    assert done.returncode == 2
    assert len([line for line in done.stderr.splitlines() if not line.startswith("assumed: ")]) == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="file names are Unicode there")
def test_file_names_that_are_no_text(folder: Path) -> None:
    strange = os.fsencode(folder) + b"/odd-\xff.png"
    with open(strange, "wb") as file:  # noqa: PTH123  a bytes path
        file.write((folder / "photos" / "é 蜂.png").read_bytes())
    try:
        done = imago("predict", str(folder / "m.onnx"), os.fsdecode(strange), "--json", "-")
    finally:
        os.unlink(strange)  # noqa: PTH108
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n"] == 1


@pytest.mark.data
def test_mnist_model_of_others() -> None:
    model, bitmap = need_data("models/mnist-8.onnx"), need_data("models/dragonfly.bmp")
    done = imago("predict", str(model), str(bitmap), "--labels", "10", "--input-color", "gray", "--json", "-")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["predictions"][0]["label"] in "0123456789"
    assert "logits" in done.stderr
