"""LiteRT engine: the numbers, the contract in the file, what is damaged or hostile, foreign models."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.contract import read_spec
from imago.edge_runtime.engines.litert import LiteRtEngine
from imago.edge_runtime.engines.select import load_engine
from imago.edge_runtime.errors import ImagoError, ModelError

import tflite_models
from support import ROOT, imago, need_data

CRASHING = (82688, 0)  # place and value of a byte, see below


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "小 – tiny.tflite"
    tflite_models.write(path)
    return path


@pytest.mark.parametrize("as_bytes", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_engine_gives_what_numpy_gives(model: Path, as_bytes: bool, threads: int) -> None:
    engine = LiteRtEngine(model.read_bytes() if as_bytes else model, threads)
    image = np.random.default_rng(1).integers(0, 256, (1, 8, 8, 1), np.uint8)
    row = engine.run(image)
    assert row.dtype == np.float32
    np.testing.assert_allclose(row, tflite_models.expected(image), atol=1e-6)
    assert (engine.input_shape, engine.input_dtype, engine.classes) == ((1, 8, 8, 1), "uint8", 3)
    assert (engine.name, engine.threads, engine.outputs) == ("litert", threads, 1)
    first, kept = row, row.copy()
    engine.run(np.zeros((1, 8, 8, 1), np.uint8))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
def test_quantised_input_and_output_look_like_pixels_and_numbers(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "q.tflite"
    path.write_bytes(tflite_models.quantised_means(kind))
    engine = load_engine(path)
    image = np.random.default_rng(2).integers(0, 256, (1, 4, 4, 3), np.uint8)
    assert engine.input_dtype == "uint8"
    assert engine.output_step == 2.0
    np.testing.assert_allclose(engine.run(image), image.mean((0, 1, 2)), atol=1.01)


def test_an_open_batch_is_one_picture(tmp_path: Path) -> None:
    path = tmp_path / "open.tflite"
    path.write_bytes(tflite_models.classifier(open_side=True))
    engine = load_engine(path)
    assert engine.input_shape == (1, 8, 8, 1)
    image = np.full((1, 8, 8, 1), 7, np.uint8)
    np.testing.assert_allclose(engine.run(image), tflite_models.expected(image), atol=1e-6)
    with pytest.raises(ModelError, match="is the input size right"):
        engine.run(np.zeros((1, 9, 9, 1), np.uint8))


def test_contract_is_read_back_and_the_self_test_passes(tmp_path: Path) -> None:
    spec = tflite_models.write(tmp_path / "m.tflite")
    assert read_spec(tmp_path / "m.tflite") == spec
    with Classifier(tmp_path / "m.tflite") as classifier:
        assert classifier.self_test().passed
        assert classifier.self_test().stored


def test_the_contract_is_a_plain_zip_entry_that_the_interpreter_does_not_mind(model: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    with zipfile.ZipFile(model) as archive:
        assert archive.testzip() is None
        assert {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_STORED}
        assert json.loads(archive.read("imago.contract"))["labels"] == ["ant", "bee", "wasp"]
    Interpreter(model_path=str(model), num_threads=1).allocate_tensors()


def test_content_decides_not_the_name(model: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "really.onnx"
    renamed.write_bytes(model.read_bytes())
    assert load_engine(renamed).name == "litert"
    text = tmp_path / "hello.tflite"
    text.write_text("hello, this is no model")
    with pytest.raises(ModelError, match="does not begin as one"):
        load_engine(text)


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        Classifier(path)
    text = str(caught.value)
    assert "\n" not in text
    assert path.name in text
    return text


def test_every_kind_of_damage_is_one_clear_line(model: Path, tmp_path: Path) -> None:
    whole = model.read_bytes()
    network = tflite_models.classifier()
    path = tmp_path / "damaged.tflite"
    flipped = bytearray(whole)
    flipped[len(network) // 2] ^= 1
    cases = {
        b"": "empty",
        whole[: len(network) // 2]: "cut short",
        whole[:-7]: "contract cannot be read",
        bytes(flipped): "checksum",
        whole[:8] + b"\0" * 4096: "damaged",
        whole.replace(b'"labels"', b'"lebals"'): "contract cannot be read",
    }
    for data, word in cases.items():
        path.write_bytes(data)
        assert word in refusal(path)


def test_packed_entries_are_refused(tmp_path: Path) -> None:
    """A stored entry is as large as it says; a deflated one could unpack to gigabytes."""
    path = tmp_path / "bomb.tflite"
    path.write_bytes(tflite_models.classifier())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("imago.contract", b" " * 10_000_000)
    assert "packed" in refusal(path)


def test_random_damage_never_takes_the_process_down(tmp_path: Path) -> None:
    """Foreign files (no checksum) with wrong bytes in their structure: refused, or they run."""
    rng = np.random.default_rng(0)
    whole = np.frombuffer(tflite_models.classifier(), np.uint8)
    for number in range(12):
        data = whole.copy()
        data[rng.integers(8, len(data), 1 + number % 3)] = rng.integers(0, 256)
        path = tmp_path / f"{number}.tflite"
        path.write_bytes(data.tobytes()[: len(data) - (number == 11) * 100])
        try:
            load_engine(path).close()
        except ImagoError as error:
            assert "\n" not in str(error)


@pytest.mark.data
def test_a_file_that_crashes_the_interpreter_is_one_clear_line(tmp_path: Path) -> None:
    """One changed byte of a real model: LiteRT 2.3 aborts the process that opens it."""
    data = bytearray((need_data("models") / "mlperf_tiny_ic_resnet8_int8.tflite").read_bytes())
    data[CRASHING[0]] = CRASHING[1]
    path = tmp_path / "crash.tflite"
    path.write_bytes(data)
    with pytest.raises(ModelError, match="not a usable TFLite model"):
        load_engine(path)


def test_without_an_interpreter_the_remedy_is_named(model: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['ai_edge_litert'] = sys.modules['tflite_runtime'] = None\n"
        "from imago.edge_runtime.engines.select import load_engine\n"
        "load_engine(sys.argv[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, model],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en"},
    )
    assert "MissingDependency" in done.stderr
    assert "imago-edge[litert]" in done.stderr


def test_commands_work_unchanged(model: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 30), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    done = imago("predict", str(model), str(tmp_path / "a.png"), "--json", "-")
    assert json.loads(done.stdout)["predictions"][0]["label"] in tflite_models.LABELS
    assert "INFO" not in done.stderr  # the interpreter's own greeting is kept away
    speed = json.loads(imago("bench", str(model), "--runs", "20", "--json", "-").stdout)
    assert speed["engine"] == "litert"
    assert speed["peak_rss_mb"] is None or speed["peak_rss_mb"] > 10
    live = imago("run", str(model), "--source", "synthetic", "--frames", "10", "--json", "-")
    assert json.loads(live.stdout)["processed"] == 10


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "picture_scale"),
    [
        ("mobilenet_v1_0.25_224_float", ("--input-mean", "127.5", "--input-std", "127.5")),
        ("mobilenet_v1_0.25_224_quant", ()),
    ],
)
def test_foreign_float_and_quantised_models(name: str, picture_scale: tuple[str, ...]) -> None:
    models = need_data("models")
    done = imago(
        "predict",
        str(models / f"{name}.tflite"),
        str(models / "dragonfly.bmp"),
        "--labels",
        str(models / "imagenet_labels.txt"),
        *picture_scale,
        "--json",
        "-",
    )
    assert "the outputs are probabilities" in done.stderr
    assert 0 < json.loads(done.stdout)["predictions"][0]["confidence"] <= 1


@pytest.mark.data
def test_the_insect_model_names_the_dragonfly() -> None:
    models = need_data("models")
    done = imago(
        "predict",
        str(models / "mobilenet_v2_1.0_224_inat_insect_quant.tflite"),
        str(models / "dragonfly.bmp"),
        "--labels",
        str(models / "inat_insect_labels.txt"),
        "--json",
        "-",
    )
    answer = json.loads(done.stdout)["predictions"][0]
    assert answer["label"] == "Micrathyria hagenii (Thornbush Dasher)"
    assert answer["confidence"] > 0.5


CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.mark.data
def test_int8_and_float_versions_of_one_network_are_right_about_real_pictures() -> None:
    """MLPerf Tiny's ResNet-8 (85 % and more on CIFAR-10): int8 in and out, and float32 in and out."""
    models = need_data("models")
    names = ("mlperf_tiny_ic_resnet8_int8.tflite", "mlperf_tiny_ic_resnet8_float.tflite")
    small, large = (load_engine(models / name) for name in names)
    right = agree = 0
    with zipfile.ZipFile(need_data("cifar10_jpg.zip")) as archive:
        files = [n for n in archive.namelist() if "/test/" in f"/{n}" and n.endswith(".jpg")][::50]
        for name in files:
            picture = np.asarray(Image.open(archive.open(name)))[None]
            answers = int(small.run(picture).argmax()), int(large.run(picture.astype(np.float32)).argmax())
            agree += answers[0] == answers[1]
            right += CIFAR[answers[0]] in name
    assert len(files) == 200
    assert agree > 180
    assert right > 150
