"""int8 for real: a trained network, its data, ONNX Runtime; what is refused, what the file says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.errors import DataError, ModelError
from imago.quantize.calibration import pictures
from imago.quantize.paired import PairedDrop
from imago.quantize.session import QuantiseOptions, QuantiseReport, quantise_file
from imago.train.config import TrainConfig
from imago.train.data.layouts import load_dataset
from imago.train.session import train
from imago.workflow.steps import export_run

from support import imago


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data set of striped pictures and a LeNet-5 trained on it, exported."""
    root = tmp_path_factory.mktemp("set")
    data = root / "stripes"
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:40, 0:48]
    for name, axis in (("across", y), ("along", x), ("slanted", x + y)):
        (data / name).mkdir(parents=True)
        for k in range(40):
            wave = 127 + 90 * np.sin(axis * rng.uniform(0.5, 0.9) + rng.uniform(0, 6))
            picture = np.clip(wave + rng.normal(0, 15, x.shape), 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(data / name / f"{k}.png")
    train(data, TrainConfig(epochs=8, batch_size=16, threads=1), root / "run")
    return data, export_run(root / "run").model


def test_the_int8_file_is_complete_and_close(ready: tuple[Path, Path], tmp_path: Path) -> None:
    data, model = ready
    target = tmp_path / "small.onnx"
    report = quantise_file(model, data, target, QuantiseOptions(calibration=32, runs=50, precision="int8"))
    assert target.stat().st_size < 0.45 * model.stat().st_size
    assert report.int8_bytes == target.stat().st_size
    with Classifier(target) as small, Classifier(model) as large:
        assert small.spec.precision == "int8"
        assert small.spec.labels == large.spec.labels
        assert small.spec.input == large.spec.input
        assert small.spec.calibration["scheme"] == report.scheme
        assert small.self_test().stored
        assert small.self_test().passed
        held = pictures(load_dataset(data), "val", large.spec)
        assert len(held) == report.drop.n
    kinds = {n.op_type for n in onnx.load(target).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds


def test_weights_are_stored_as_int8(ready: tuple[Path, Path], tmp_path: Path) -> None:
    data, model = ready
    options = QuantiseOptions(calibration=16, runs=10, precision="int8")
    quantise_file(model, data, tmp_path / "s.onnx", options)
    floats = [
        i for i in onnx.load(tmp_path / "s.onnx").graph.initializer if i.data_type == onnx.TensorProto.FLOAT
    ]
    assert max(int(np.prod(i.dims)) for i in floats) < 1000


def test_command_answers_in_json_and_exit_code(ready: tuple[Path, Path], tmp_path: Path) -> None:
    data, model = ready
    target = tmp_path / "s.onnx"
    done = imago("quantize", str(model), "--calibrate", str(data), "-o", str(target), "--json", "-")
    answer = json.loads(done.stdout)
    assert done.returncode == (0 if answer["recommended"] else 1)
    assert answer["n"] > 0
    assert 0 <= answer["accuracy_int8"] <= 1
    again = imago("quantize", str(model), "--calibrate", str(data), "-o", str(target))
    assert again.returncode == 2
    assert "--force" in again.stderr


def test_what_cannot_be_quantised_is_told(ready: tuple[Path, Path], tmp_path: Path) -> None:
    data, model = ready
    small = tmp_path / "s.onnx"
    quantise_file(model, data, small, QuantiseOptions(calibration=16, runs=10))
    with pytest.raises(ModelError, match=r"int8.* already"):
        quantise_file(small, data, tmp_path / "x.onnx")
    plain = onnx.load(model)
    del plain.metadata_props[:]
    onnx.save(plain, tmp_path / "plain.onnx")
    with pytest.raises(ModelError, match="no contract"):
        quantise_file(tmp_path / "plain.onnx", data, tmp_path / "x.onnx")
    other = tmp_path / "other"
    for name in ("cat", "dog"):
        (other / name).mkdir(parents=True)
        for k in range(12):
            noise = np.random.default_rng(k).integers(0, 256, (40, 40), dtype=np.uint8)
            Image.fromarray(noise).save(other / name / f"{name}{k}.png")
    with pytest.raises(DataError, match="cat, dog"):
        quantise_file(model, other, tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


def report(worse: int, better: int, n: int, fp32_us: float, int8_us: float) -> QuantiseReport:
    return QuantiseReport(
        target=Path("x.onnx"),
        scheme="per-channel, minmax",
        split="val",
        fp32_accuracy=0.9,
        int8_accuracy=0.9,
        drop=PairedDrop(n, worse, better),
        max_drop=0.5,
        fp32_bytes=4,
        int8_bytes=1,
        fp32_us=fp32_us,
        int8_us=int8_us,
    )


@pytest.mark.parametrize(
    ("given", "recommended", "said"),
    [
        (report(5, 5, 10_000, 100, 60), True, "recommended"),
        (report(5, 5, 10_000, 60, 100), False, "slower"),
        (report(200, 5, 10_000, 100, 60), False, "loses"),
        (report(0, 0, 40, 100, 60), False, "too few"),
    ],
)
def test_recommendation(given: QuantiseReport, recommended: bool, said: str) -> None:
    assert given.recommended is recommended
    assert said in given.reason()


def test_every_class_is_calibrated_early(ready: tuple[Path, Path]) -> None:
    data, model = ready
    with Classifier(model) as classifier:
        first = pictures(load_dataset(data), "train", classifier.spec, 9)
    assert np.bincount(first.labels).tolist() == [3, 3, 3]
