"""Which version is written, and what is refused before any work: real models, pictures and files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import answers, network
from onnx import numpy_helper
from PIL import Image

from imago.cli.main import main
from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.errors import DataError, InputError, ModelError
from imago.quantize.calibration import Pictures
from imago.quantize.choice import Version, preferred
from imago.quantize.measure import Measured
from imago.quantize.options import QuantiseOptions
from imago.quantize.paired import PairedDrop
from imago.quantize.qat.session import QatOptions
from imago.quantize.report import QuantiseReport
from imago.quantize.session import file_sensitivities, quantise_file, quantise_pictures

QUICK = QuantiseOptions(calibration=8, runs=10, max_drop=100)


def version(precision: str, us: float, worse: int, *, n: int = 10_000, scheme: str = "x") -> Version:
    figures = Measured(precision, scheme, 0.9, PairedDrop(n, worse, 0), 1, us, 100.0)
    return Version(onnx.ModelProto(), figures)


@pytest.mark.parametrize(
    ("offered", "wanted"),
    [
        # integers are faster and good enough
        ([version("int8", 40, 5)], 0),
        # integers are slower than float here: LeNet-5 in ONNX Runtime's naive form
        ([version("int8", 240, 5), version("int8-weights", 101, 5)], 1),
        # integers are fast and wrong
        ([version("int8", 40, 300), version("int8-weights", 101, 5)], 1),
        # training mends them; so does float in the worst layers, but only surely after training
        ([version("int8", 40, 300), version("int8", 40, 5, scheme="trained on")], 1),
        ([version("int8", 40, 30, n=1000), version("int8", 40, 5, scheme="trained on")], 1),
        ([version("int8", 40, 300), version("int8", 40, 200), version("int8", 60, 4, scheme="mixed")], 2),
        # training that made it worse
        ([version("int8", 40, 45), version("int8", 40, 46, scheme="trained on")], 0),
        # nothing is good enough: the most accurate of what was asked for
        ([version("int8", 40, 300), version("int8-weights", 101, 400)], 0),
        ([version("int8", 300, 5), version("int8-weights", 200, 5)], 0),
    ],
)
def test_the_version_that_is_written(offered: list[Version], wanted: int) -> None:
    assert preferred(offered, 0.5) is offered[wanted]


def test_the_report_says_why_it_is_not_integers() -> None:
    slow, wrong = version("int8", 240, 5).figures, version("int8", 40, 300).figures
    weights = version("int8-weights", 101, 5).figures
    for whole, said in ((slow, "slower here (240 against 100"), (wrong, "would lose 3.00 points")):
        report = QuantiseReport(
            target=Path("x.onnx"),
            scheme=weights.scheme,
            split="val",
            fp32_accuracy=0.9,
            int8_accuracy=0.9,
            drop=weights.drop,
            max_drop=0.5,
            fp32_bytes=4,
            int8_bytes=1,
            fp32_us=100,
            int8_us=101,
            precision="int8-weights",
            measured=(whole, weights),
        )
        assert report.recommended
        assert said in report.reason()
        assert len(report.versions) == 2
        json.dumps(report.to_dict())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LeNet-5 for 32 px, as a file with contract."""
    target = tmp_path_factory.mktemp("m") / "lenet5.onnx"
    onnx.save(network("lenet5")[0], target)
    return target


def shown(count: int = 24) -> tuple[np.ndarray, Pictures]:
    """Calibration pictures ``(n, H, W, C)``, and gate pictures with the float model's answers as labels."""
    model, tensors = network("lenet5")
    images = np.ascontiguousarray(tensors.transpose(0, 2, 3, 1))
    return images[:count], Pictures(images, answers(model, tensors).argmax(1))


@pytest.mark.parametrize("precision", ["int8", "int8-weights"])
def test_what_is_asked_for_is_what_is_written(precision: str, source: Path, tmp_path: Path) -> None:
    images, gate = shown()
    options = replace(QUICK, precision=precision)  # type: ignore[arg-type]
    report = quantise_pictures(source, images, gate, tmp_path / "s.onnx", options)
    assert report.precision == precision
    assert {v.precision for v in report.versions} == {precision}
    assert report.fp32_accuracy == 1.0
    assert report.kernels is not None
    assert (report.kernels.integer > 0) == (precision == "int8")
    with Classifier(tmp_path / "s.onnx") as small:
        assert small.spec.precision == precision
        assert small.spec.calibration["pictures"] == (12 if precision == "int8" else 0)
        assert small.spec.accuracy[0]["precision"] == precision
        assert small.self_test().passed
    stored = [numpy_helper.to_array(i) for i in onnx.load(tmp_path / "s.onnx").graph.initializer]
    assert sum(v.size for v in stored if v.dtype == np.int8) > 0.95 * sum(v.size for v in stored)


def test_automatic_choice_is_the_one_its_figures_call_for(source: Path, tmp_path: Path) -> None:
    """Whatever this machine measures."""
    images, gate = shown()
    report = quantise_pictures(source, images, gate, tmp_path / "s.onnx", QUICK)
    integers = next(v for v in report.versions if v.precision == "int8")
    assert (report.precision == "int8") == (integers.fast or len(report.versions) == 1)
    assert len(report.versions) == (1 if integers.passes(QUICK.max_drop) else 2)


def test_the_same_file_every_time(source: Path, tmp_path: Path) -> None:
    images, gate = shown()
    options = replace(QUICK, precision="int8")
    models = []
    for name in ("a.onnx", "b.onnx"):
        quantise_pictures(source, images, gate, tmp_path / name, options)
        models.append(onnx.load(tmp_path / name).graph.SerializeToString(deterministic=True))
    assert models[0] == models[1]


def test_pictures_that_do_not_fit_are_refused(source: Path, tmp_path: Path) -> None:
    images, gate = shown()
    target = tmp_path / "s.onnx"
    wrong = (
        (images[:, :30], gate, "24×30×32×1 of uint8, expected n×32×32×1"),
        (images.astype(np.float32) / 255, gate, "of float32"),
        (np.repeat(images, 3, axis=3), gate, "×3 of uint8"),
        (images[:7], gate, "7 training pictures are too few"),
        (images[:0], gate, "0 training pictures are too few"),
        (images, Pictures(gate.images[:0], gate.labels[:0]), "no pictures to measure"),
        (images, Pictures(gate.images[:, 1:], gate.labels), "expected n×32×32×1"),
    )
    for calibration, measured, said in wrong:
        with pytest.raises(DataError, match=said):
            quantise_pictures(source, calibration, measured, target, QUICK)
    assert not target.exists()


def test_options_that_make_no_sense_are_refused() -> None:
    for wrong in (
        {"calibration": 4},
        {"max_drop": -1.0},
        {"precision": "int4"},
        {"precision": "int8-weights", "qat": QatOptions()},
    ):
        with pytest.raises(InputError, match="--"):
            QuantiseOptions(**wrong)


def folder(root: Path, count: int) -> Path:
    """A data set with the model's classes and so many pictures of each."""
    rng = np.random.default_rng(0)
    for name in "abcdef":
        (root / name).mkdir(parents=True)
        for k in range(count):
            Image.fromarray(rng.integers(0, 256, (32, 32), dtype=np.uint8)).save(root / name / f"{k}.png")
    return root


Told = pytest.CaptureFixture[str]


def refused(capsys: Told, *args: str) -> str:
    """The one line with which the command ends, exit code 2."""
    capsys.readouterr()
    assert main(["quantize", *args]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    lines = [line for line in error if not line.startswith("\r")]  # progress bars
    assert len(lines) == 1, error
    return lines[0]


def test_data_without_enough_pictures_is_one_line(source: Path, tmp_path: Path, capsys: Told) -> None:
    few, empty = folder(tmp_path / "few", 1), tmp_path / "empty"
    empty.mkdir()
    for data in (few, empty, tmp_path / "missing"):
        for extra in ([], ["--sensitivity"]):
            assert refused(capsys, str(source), "--calibrate", str(data), *extra)
    with pytest.raises(DataError):
        file_sensitivities(source, few)


def test_models_that_cannot_be_quantised_are_named(source: Path, tmp_path: Path, capsys: Told) -> None:
    data = folder(tmp_path / "data", 12)
    unknown = onnx.load(source)
    next(n for n in unknown.graph.node if n.op_type == "Relu").op_type = "Nonsense"
    bare = onnx.load(source)
    weights = [i for i in bare.graph.initializer if len(i.dims) in (2, 4)]
    for initializer in weights:  # weights that are computed, as in a file that is quantised already
        half = numpy_helper.from_array(
            numpy_helper.to_array(initializer).astype(np.float16), f"{initializer.name}_h"
        )
        bare.graph.initializer.append(half)
        bare.graph.node.insert(
            0, onnx.helper.make_node("Cast", [half.name], [initializer.name], to=onnx.TensorProto.FLOAT)
        )
        bare.graph.initializer.remove(initializer)
    for name, model, said in (
        ("unknown", unknown, "not a usable ONNX model"),
        ("bare", bare, "nothing to quantise"),
    ):
        path = tmp_path / f"{name}.onnx"
        onnx.save(model, path)
        line = refused(capsys, str(path), "--calibrate", str(data), "-o", str(tmp_path / "x.onnx"))
        assert said in line
        assert path.name in line
    small = tmp_path / "small.onnx"
    quantise_file(source, data, small, replace(QUICK, precision="int8-weights"))
    for call in (
        lambda: quantise_file(small, data, tmp_path / "x.onnx"),
        lambda: file_sensitivities(small, data),
    ):
        with pytest.raises(ModelError, match="int8-weights already"):
            call()
    assert not (tmp_path / "x.onnx").exists()


def test_flags_fit_the_file(tmp_path: Path, capsys: Told) -> None:
    for model, flags, said in (
        ("m.onnx", ["--scheme", "fp16"], "--scheme is for .tflite"),
        ("m.tflite", ["--precision", "int8", "--scheme", "static"], "not both"),
        ("m.tflite", ["--no-mixed"], "--no-mixed is for .onnx"),
        ("m.tflite", ["--sensitivity"], "--sensitivity is for .onnx"),
        ("m.tflite", ["--qat"], "--qat is for .onnx"),
        ("m.onnx", ["--sensitivity", "--qat"], "leave --qat out"),
        ("m.onnx", ["--precision", "int8-weights", "--qat"], "--qat trains integer arithmetic"),
    ):
        assert said in refused(capsys, str(tmp_path / model), "--calibrate", str(tmp_path), *flags)


def test_the_sensitivity_command_draws_a_picture(source: Path, tmp_path: Path, capsys: Told) -> None:
    data = folder(tmp_path / "data", 12)
    target = tmp_path / "lenet5.onnx"
    target.write_bytes(source.read_bytes())
    command = ["quantize", str(target), "--calibrate", str(data), "--count", "8", "--sensitivity"]
    assert main([*command, "--json", str(tmp_path / "s.json")]) == 0
    table = capsys.readouterr().out
    answer = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert [layer["operator"] for layer in answer["layers"]] == ["Conv", "Conv", "Conv", "Gemm", "Gemm"]
    assert all(layer["layer"] in table for layer in answer["layers"])
    assert Path(answer["picture"]).stat().st_size > 5000
    assert not (tmp_path / "lenet5-int8.onnx").exists()
    assert "--force" in refused(capsys, *command[1:])
