"""Classifier: pictures in, predictions out; contract against network; models without contract."""

from __future__ import annotations

import dataclasses
import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imago.edge_runtime.classifier import Classifier, softmax
from imago.edge_runtime.engines.select import load_engine
from imago.edge_runtime.errors import InputError, ModelError
from imago.edge_runtime.foreign import ForeignOptions, foreign_spec, read_labels
from imago.edge_runtime.preprocess import Preprocessor
from imago.edge_runtime.types import Frame

import onnx_models
from support import need_data


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_prediction_is_preprocessing_then_network(tmp_path: Path, channels: int) -> None:
    spec = onnx_models.lenet(tmp_path / "m.onnx", onnx_models.spec_of(channels=channels))
    Image.fromarray(noise(60, 90, 3)).save(tmp_path / "photo.png")
    with Classifier(str(tmp_path / "m.onnx")) as classifier:
        prediction = classifier(str(tmp_path / "photo.png"))
        tensor = Preprocessor(spec.input).tensor(Frame(noise(60, 90, 3), "rgb"))
        np.testing.assert_array_equal(prediction.probabilities, load_engine(tmp_path / "m.onnx").run(tensor))
        assert prediction.labels == onnx_models.LABELS
        assert prediction.top(2)[0].label == prediction.label
        assert classifier((tmp_path / "photo.png").read_bytes()).label == prediction.label
        assert classifier(Frame(noise(60, 90, 3), "rgb")).label == prediction.label


def test_predictions_do_not_share_memory(tmp_path: Path) -> None:
    onnx_models.lenet(tmp_path / "m.onnx")
    classifier = Classifier(tmp_path / "m.onnx")
    first = classifier.predict(Frame(noise(32, 32), "gray"))
    kept = first.probabilities.copy()
    second = classifier.predict(Frame(noise(32, 32, seed=1), "gray"))
    np.testing.assert_array_equal(first.probabilities, kept)
    assert not np.array_equal(kept, second.probabilities)


def test_self_test_passes_and_notices_another_network(tmp_path: Path) -> None:
    spec = onnx_models.lenet(tmp_path / "m.onnx")
    assert Classifier(tmp_path / "m.onnx").self_test().passed
    onnx_models.lenet(tmp_path / "other.onnx", seed=5, selftest=False)
    result = Classifier(tmp_path / "other.onnx", spec=spec).self_test()
    assert not result.passed
    assert result.difference > result.tolerance
    assert not Classifier(tmp_path / "other.onnx").self_test().stored


def test_wrong_labels_count_says_both_numbers(tmp_path: Path) -> None:
    onnx_models.lenet(tmp_path / "m.onnx")
    spec = onnx_models.spec_of(labels=("a", "b", "c", "d"))
    with pytest.raises(ModelError, match=r"4 labels.*3 outputs"):
        Classifier(tmp_path / "m.onnx", spec=spec)


def test_contract_that_does_not_fit_the_network(tmp_path: Path) -> None:
    onnx_models.lenet(tmp_path / "m.onnx")
    good = onnx_models.spec_of()
    for change in ({"width": 28}, {"layout": "nhwc"}, {"dtype": "float32"}):
        spec = dataclasses.replace(good, input=dataclasses.replace(good.input, **change))
        with pytest.raises(ModelError, match="contract says"):
            Classifier(tmp_path / "m.onnx", spec=spec)


def test_bad_picture_is_an_input_error(tmp_path: Path) -> None:
    onnx_models.lenet(tmp_path / "m.onnx")
    classifier = Classifier(tmp_path / "m.onnx")
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    for name in ("bad.jpg", "none.jpg"):
        with pytest.raises(InputError, match=name):
            classifier(tmp_path / name)


def test_softmax_survives_large_logits() -> None:
    row = softmax(np.array([1000, 999, -1000], np.float32))
    np.testing.assert_allclose(row, [0.731059, 0.268941, 0], atol=1e-6)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_foreign_model_is_filled_from_the_graph(tmp_path: Path, layout: str, dtype: str) -> None:
    onnx_models.brightness(tmp_path / "f.onnx", layout=layout, dtype=dtype)
    engine = load_engine(tmp_path / "f.onnx")
    spec, assumed = foreign_spec(engine, ForeignOptions(labels=("bright", "dark")))
    assert (spec.input.layout, spec.input.dtype, spec.input.size) == (layout, dtype, (8, 8))
    assert spec.output == "logits"
    assert any("logits" in sentence for sentence in assumed)
    assert any("red, green, blue" in sentence for sentence in assumed)
    classifier = Classifier.from_engine(engine, spec)
    for level in (20, 100, 160, 250):
        prediction = classifier.predict(Frame(np.full((9, 9, 3), level, np.uint8), "bgr"))
        logit = level / 64 - 2
        assert prediction.probabilities[0] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)


def test_foreign_scale_mean_std_are_applied_in_this_order(tmp_path: Path) -> None:
    onnx_models.brightness(tmp_path / "f.onnx")
    engine = load_engine(tmp_path / "f.onnx")
    options = ForeignOptions(scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.25, 0.5, 1.0), layout="nchw")
    spec, _ = foreign_spec(engine, options)
    tensor = Preprocessor(spec.input).tensor(Frame(np.full((8, 8, 3), 102, np.uint8), "rgb"))
    np.testing.assert_allclose(tensor[0, :, 0, 0], [(0.4 - 0.5) / 0.25, 0, 0.1], atol=1e-6)


def test_foreign_probabilities_are_recognised(tmp_path: Path) -> None:
    onnx_models.brightness(tmp_path / "f.onnx", logits=False)
    spec, assumed = foreign_spec(load_engine(tmp_path / "f.onnx"))
    assert spec.output == "probabilities"
    assert spec.labels == ("0", "1")
    assert any("0 to 1" in sentence for sentence in assumed)


def test_foreign_flags_that_contradict_the_graph(tmp_path: Path) -> None:
    onnx_models.brightness(tmp_path / "f.onnx")
    onnx_models.brightness(tmp_path / "u.onnx", dtype="uint8")
    engine, whole = load_engine(tmp_path / "f.onnx"), load_engine(tmp_path / "u.onnx")
    for options, words in (
        (ForeignOptions(labels=("a",)), "1 labels.*2 outputs"),
        (ForeignOptions(labels_count=7), "7 labels.*2 outputs"),
        (ForeignOptions(size=(9, 8)), "9x8.*8x8"),
        (ForeignOptions(color="gray"), "1 channels"),
    ):
        with pytest.raises(ModelError, match=words):
            foreign_spec(engine, options)
    with pytest.raises(ModelError, match="uint8"):
        foreign_spec(whole, ForeignOptions(scale=0.1))


def test_labels_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes("﻿蜜蜂\r\nant \r\n\r\n".encode())
    assert read_labels(path) == ("蜜蜂", "ant")
    for data, words in ((b"a\n\nb\n", "line 2"), (b"", "line 1"), (b"\xff\xfe\x00", "UTF-8")):
        path.write_bytes(data)
        with pytest.raises(InputError, match=words):
            read_labels(path)
    with pytest.raises(InputError, match="cannot read"):
        read_labels(tmp_path / "none.txt")


def test_repeated_labels_get_their_number(tmp_path: Path) -> None:
    onnx_models.brightness(tmp_path / "f.onnx")
    spec, assumed = foreign_spec(load_engine(tmp_path / "f.onnx"), ForeignOptions(labels=("crane", "crane")))
    assert spec.labels == ("crane #0", "crane #1")
    assert any("crane" in sentence for sentence in assumed)


@pytest.mark.data
def test_a_model_that_nobody_here_wrote_reads_mnist() -> None:
    model, mnist = need_data("models") / "mnist-8.onnx", need_data("mnist")
    engine = load_engine(model)
    spec, _ = foreign_spec(engine, ForeignOptions(labels_count=10, color="gray"))
    classifier = Classifier.from_engine(engine, spec)
    with gzip.open(mnist / "t10k-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)[:2000]
    with gzip.open(mnist / "t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)[:2000]
    right = [classifier.predict(Frame(i, "gray")).index == t for i, t in zip(images, labels, strict=True)]
    assert np.mean(right) > 0.98
