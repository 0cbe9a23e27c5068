"""A run becomes .tflite files: exported, quantised in every way, and run by each interpreter there is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.engines.litert import LiteRtEngine
from imago.edge_runtime.engines.tflite_file import network_of
from imago.edge_runtime.types import Frame
from imago.export.tflite_graph import Network
from imago.quantize.choice import rank
from imago.quantize.session import QuantiseOptions
from imago.quantize.tflite import SCHEMES, quantise_tflite
from imago.train.config import TrainConfig
from imago.train.session import train
from imago.workflow.steps import export_run

from support import ROOT, imago, need_converter


def stripes(data: Path, *, color: bool = False) -> None:
    """Three classes of striped pictures, 40 each."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:40, 0:48]
    for name, axis in (("across", y), ("along", x), ("slanted", x + y)):
        (data / name).mkdir(parents=True)
        for k in range(40):
            wave = 127 + 90 * np.sin(axis * rng.uniform(0.5, 0.9) + rng.uniform(0, 6))
            picture = np.clip(wave + rng.normal(0, 15, x.shape), 0, 255).astype(np.uint8)
            if color:
                picture = np.stack([picture, picture // 2, 255 - picture], -1)
            Image.fromarray(picture).save(data / name / f"{k}.png")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Data and a LeNet-5 trained on them."""
    root = tmp_path_factory.mktemp("lenet")
    stripes(root / "stripes")
    train(root / "stripes", TrainConfig(epochs=8, batch_size=16, threads=1), root / "run")
    return root / "stripes", root / "run"


@pytest.fixture(scope="module")
def exported(run: tuple[Path, Path]) -> Path:
    """The run as .tflite."""
    need_converter()
    return export_run(run[1], format="tflite").model


def frames() -> list[Frame]:
    rng = np.random.default_rng(5)
    return [Frame(rng.integers(0, 256, (50, 60), np.uint8), "gray") for _ in range(8)]


def test_tflite_says_what_onnx_says(run: tuple[Path, Path], exported: Path, tmp_path: Path) -> None:
    onnx = export_run(run[1], tmp_path / "same.onnx").model
    with Classifier(exported) as lite, Classifier(onnx) as other:
        assert lite.engine.name == "litert"
        assert lite.spec.labels == other.spec.labels
        assert lite.spec.input.layout == "nhwc"
        assert lite.spec.input.dtype == "uint8"
        assert lite.self_test().passed
        assert lite.self_test().stored
        for frame in frames():
            np.testing.assert_allclose(
                lite.predict(frame).probabilities, other.predict(frame).probabilities, atol=1e-4
            )


def test_nothing_is_left_between_pixels_and_convolution(exported: Path) -> None:
    network = Network(network_of(exported))
    kinds = network.kinds()
    assert kinds[0] == "CAST"
    assert "CONV_2D" in kinds[1]
    assert "TRANSPOSE" not in kinds
    assert network.shape(network.input) == (1, 32, 32, 1)
    raw = exported.read_bytes()
    assert str(ROOT).encode() not in raw
    assert len(raw) < 61_706 * 4 + 12_000


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_holds_its_accuracy(
    scheme: str, run: tuple[Path, Path], exported: Path, tmp_path: Path
) -> None:
    target = tmp_path / "small.tflite"
    options = QuantiseOptions(calibration=32, runs=20)
    report = quantise_tflite(exported, run[0], target, options, scheme)  # type: ignore[arg-type]
    part = 0.55 if scheme == "fp16" else 0.34
    assert target.stat().st_size < part * exported.stat().st_size
    assert report.int8_bytes == target.stat().st_size
    assert abs(report.fp32_accuracy - report.int8_accuracy) <= 0.1
    with Classifier(target) as small, Classifier(exported) as large:
        assert small.spec.precision == report.precision != "fp32"
        assert small.spec.input == large.spec.input
        assert small.self_test().passed
        assert small.self_test().stored
        differences = [
            np.abs(small.predict(f).probabilities - large.predict(f).probabilities).max() for f in frames()
        ]
        assert max(differences) < 0.15
    if scheme == "weights":
        assert small.spec.precision == "int8-weights"
        assert {"CONV_2D", "FULLY_CONNECTED", "SOFTMAX"} <= set(report.float_operators)
    if scheme in ("static", "mixed"):
        assert report.float_operators == {"SOFTMAX": 1}
        assert small.engine.input_dtype == "uint8"
        assert Network(network_of(target)).kinds()[0] == "QUANTIZE"


def test_integers_that_do_not_pay_give_way_to_int8_weights(
    run: tuple[Path, Path], exported: Path, tmp_path: Path
) -> None:
    """``auto``: both versions are measured unless integers pass, and the better one is written."""
    target = tmp_path / "small.tflite"
    report = quantise_tflite(exported, run[0], target, QuantiseOptions(calibration=32, runs=20))
    first, *more = report.measured
    assert first.precision == "int8"
    assert [m.precision for m in more] == ([] if first.passes(0.5) else ["int8-weights"])
    with Classifier(target) as small:
        assert small.spec.precision == report.precision
    chosen = min(report.measured, key=lambda m: rank(m, 0.5))
    assert (report.precision, report.int8_us) == (chosen.precision, chosen.us)


def test_commands_answer_in_json(run: tuple[Path, Path], exported: Path, tmp_path: Path) -> None:
    need_converter()
    small = tmp_path / "s.tflite"
    done = imago(
        "quantize",
        str(exported),
        "--calibrate",
        str(run[0]),
        "-o",
        str(small),
        "--json",
        "-",
        "--precision",
        "int8",
    )
    answer = json.loads(done.stdout)
    assert done.returncode == (0 if answer["recommended"] else 1)
    assert answer["precision"] == "int8"
    assert answer["float_operators"] == {"SOFTMAX": 1}
    measured = imago("evaluate", str(small), str(run[0]), "--json", "-")
    assert json.loads(measured.stdout)["n"] > 0
    again = imago("quantize", str(small), "--calibrate", str(run[0]), "-o", str(tmp_path / "x.tflite"))
    assert again.returncode == 2
    assert "int8 already" in again.stderr


def test_without_the_converter_the_line_to_type_is_told(run: tuple[Path, Path], tmp_path: Path) -> None:
    env = {"IMAGO_TFLITE_ENV": str(tmp_path / "none")}
    out = tmp_path / "m.tflite"
    done = imago("export", str(run[1]), "-o", str(out), env=env)
    assert done.returncode == 2
    assert "imago setup tflite" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not out.exists()
    wrong = imago("export", str(run[1]), "-o", str(tmp_path / "m.onnx"), "--format", "tflite")
    assert wrong.returncode == 2


@pytest.mark.slow
def test_mobilenet_v3_runs_in_integers_in_one_piece(tmp_path: Path) -> None:
    """Its hard-swish has no fast int8 kernel; taken apart, all of it is one XNNPACK partition."""
    need_converter()
    data, folder = tmp_path / "stripes", tmp_path / "run"
    stripes(data, color=True)
    config = TrainConfig(model="mobilenet_v3_small", size=64, epochs=4, batch_size=16, threads=1)
    train(data, config, folder)
    model = export_run(folder, format="tflite").model
    static = tmp_path / "static.tflite"
    report = quantise_tflite(model, data, static, QuantiseOptions(calibration=32, runs=20), "static")
    assert report.float_operators == {"SOFTMAX": 1}
    assert partitions(static) == 1
    mixed = tmp_path / "mixed.tflite"
    quantise_tflite(model, data, mixed, QuantiseOptions(calibration=32, runs=20), "mixed")
    assert mixed.stat().st_size < 0.34 * model.stat().st_size


def partitions(model: Path) -> int:
    engine = LiteRtEngine(model)
    details = engine._interpreter._get_ops_details()
    return sum(row["op_name"] == "DELEGATE" for row in details)


SELF_TEST = """
import sys
from imago.edge_runtime import Classifier
for path in sys.argv[1:]:
    with Classifier(path) as classifier:
        result = classifier.self_test()
        assert result.passed and result.stored, (path, result)
        print(classifier.engine.name, classifier.engine.version)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="tflite-runtime's last wheels are for Python 3.11"
)
def test_tflite_runtime_runs_the_files(run: tuple[Path, Path], exported: Path, tmp_path: Path) -> None:
    """The predecessor, in an environment of its own with numpy 1: the same files, the same answers."""
    files = [exported]
    for scheme in SCHEMES:
        files.append(tmp_path / f"{scheme}.tflite")
        quantise_tflite(exported, run[0], files[-1], QuantiseOptions(calibration=32, runs=5), scheme)
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    wanted = ["tflite-runtime==2.14.0", "numpy<2", "pillow"]
    done = subprocess.run(
        [python, "-m", "pip", "install", "-q", *wanted], capture_output=True, text=True, check=False
    )
    if done.returncode:
        if os.environ.get("CI"):
            pytest.fail(done.stderr)
        pytest.skip(f"pip could not fetch tflite-runtime: {done.stderr[-200:]}")
    ran = subprocess.run(
        [python, "-c", SELF_TEST, *files],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en"},
    )
    assert ran.returncode == 0, ran.stderr
    assert set(ran.stdout.splitlines()) == {"tflite-runtime 2.14.0"}
