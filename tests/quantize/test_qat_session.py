"""Quantisation-aware training on real digits: it mends a bad start, survives kills, says what it did."""

from __future__ import annotations

import gzip
import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.contract import spec_from_metadata
from imago.edge_runtime.engines.ort import OrtEngine
from imago.edge_runtime.errors import DataError, GateError, StorageError
from imago.quantize.calibration import pictures
from imago.quantize.layer_weights import FloatNetwork
from imago.quantize.prepare import prepared
from imago.quantize.ptq import probabilities
from imago.quantize.qat.check import compare
from imago.quantize.qat.session import MARKER, QatFacts, QatOptions, quantise_aware
from imago.quantize.qdq import quantised
from imago.quantize.statistics import collect
from imago.train.config import TrainConfig
from imago.train.data.idx import read_idx
from imago.train.data.layouts import load_dataset
from imago.train.dataset import Dataset
from imago.train.interrupt import Interrupted, StopWish
from imago.train.session import train
from imago.workflow.steps import export_run

from support import ROOT, imago, need_data

OPTIONS = QatOptions(epochs=4, batch_size=32, threads=1)  # 336 steps: three memories of its average
SHRUNK = 0.15  # of the ranges that calibration found


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3,000 and 200 of MNIST's digits."""
    source, folder = need_data("mnist"), tmp_path_factory.mktemp("digits")
    for name, count in (("train", 3000), ("t10k", 200)):
        for kind in ("images-idx3", "labels-idx1"):
            values = read_idx(source / f"{name}-{kind}-ubyte.gz", int(kind[-1]))[:count]
            head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
            (folder / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + values.tobytes(), 1))
    return folder


@pytest.fixture(scope="module")
def ready(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, onnx.ModelProto, Dataset]:
    """A float LeNet-5, an int8 version of it whose activation ranges are far too small, and the data."""
    run = tmp_path_factory.mktemp("qat") / "run"
    train(digits, TrainConfig(epochs=5, threads=1, batch_size=64), run)
    source, data = export_run(run).model, load_dataset(digits)
    tensors = pictures(data, "train", _spec(source), 64).tensors("nchw")
    model = prepared(onnx.load(source))
    network = FloatNetwork.of(model, collect(model, tensors))
    ranges = {name: (SHRUNK * t.low, SHRUNK * t.high) for name, t in network.statistics.items()}
    return source, quantised(network, ranges), data


def _spec(source: Path) -> Any:
    return spec_from_metadata(OrtEngine(source).metadata)


def aware(
    source: Path, start: onnx.ModelProto, data: Dataset, workspace: Path, options: QatOptions
) -> tuple[onnx.ModelProto, QatFacts]:
    return quantise_aware(onnx.load(source), start, _spec(source), data, workspace, options=options)


def accuracy(model: bytes | Path, data: Dataset, source: Path) -> float:
    held = pictures(data, "val", _spec(source))
    answers = probabilities(OrtEngine(model), held.tensors("nchw")).argmax(1)
    return float((answers == held.labels).mean())


@pytest.fixture(scope="module")
def whole(
    ready: tuple[Path, onnx.ModelProto, Dataset], tmp_path_factory: pytest.TempPathFactory
) -> tuple[onnx.ModelProto, QatFacts]:
    """An uninterrupted training."""
    source, start, data = ready
    return aware(source, start, data, tmp_path_factory.mktemp("w") / "w", OPTIONS)


def test_a_bad_start_recovers(
    ready: tuple[Path, onnx.ModelProto, Dataset], whole: tuple[onnx.ModelProto, QatFacts]
) -> None:
    source, start, data = ready
    model, facts = whole
    large = accuracy(source, data, source)
    assert facts.start == pytest.approx(accuracy(start.SerializeToString(), data, source))
    assert facts.start < large - 0.05
    assert facts.reached == pytest.approx(accuracy(model.SerializeToString(), data, source))
    assert facts.reached > large - 0.015
    assert (facts.n, facts.epochs) == (len(data.splits["val"]), 4)
    assert 1 <= facts.best_epoch <= 4
    assert facts.alignment.agreement >= 0.995
    json.dumps(facts.to_dict())
    assert [n.op_type for n in model.graph.node] == [n.op_type for n in start.graph.node]
    sizes = [len(m.SerializeToString()) for m in (start, model)]
    assert abs(sizes[0] - sizes[1]) < 0.01 * sizes[0]


def test_interrupted_at_every_step_it_ends_the_same(
    ready: tuple[Path, onnx.ModelProto, Dataset], whole: tuple[onnx.ModelProto, QatFacts], tmp_path: Path
) -> None:
    source, start, data = ready
    original = StopWish.__enter__

    def impatient(self: StopWish) -> StopWish:
        entered = original(self)
        entered.wished = True
        return entered

    StopWish.__enter__ = impatient  # type: ignore[method-assign]
    try:
        for _ in range(5):
            with pytest.raises(Interrupted, match="the same command goes on"):
                aware(source, start, data, tmp_path / "w", OPTIONS)
    finally:
        StopWish.__enter__ = original  # type: ignore[method-assign]
    model, facts = aware(source, start, data, tmp_path / "w", OPTIONS)
    assert model.SerializeToString(deterministic=True) == whole[0].SerializeToString(deterministic=True)
    assert facts == whole[1]
    assert not (tmp_path / "w").exists()


def test_another_training_does_not_go_on_from_the_state(
    ready: tuple[Path, onnx.ModelProto, Dataset], tmp_path: Path
) -> None:
    source, start, data = ready
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / MARKER).write_text(json.dumps({"key": "of something else"}))
    (tmp_path / "w" / "checkpoint.safetensors").write_text("not to be read")
    _, facts = aware(source, start, data, tmp_path / "w", QatOptions(epochs=1, threads=1))
    assert facts.epochs == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").write_text("precious")
    with pytest.raises(StorageError, match="mine"):
        aware(source, start, data, tmp_path / "mine", OPTIONS)
    assert (tmp_path / "mine" / "photo.jpg").exists()


def test_a_start_that_nothing_beats_is_kept(
    ready: tuple[Path, onnx.ModelProto, Dataset],
    whole: tuple[onnx.ModelProto, QatFacts],
    tmp_path: Path,
) -> None:
    """A hopeless learning rate ruins every epoch."""
    source, _, data = ready
    options = QatOptions(epochs=1, lr=3.0, ema=0.0, threads=1)
    model, facts = aware(source, whole[0], data, tmp_path / "w", options)
    assert model == whole[0]
    assert facts.best_epoch == 0
    assert facts.reached == facts.start == whole[1].reached


def test_the_command_goes_on_where_it_was_stopped(
    ready: tuple[Path, onnx.ModelProto, Dataset], digits: Path, tmp_path: Path
) -> None:
    """The whole command, stopped by Ctrl-C in its second epoch and given again."""
    target = tmp_path / "small.onnx"
    args = ["quantize", str(ready[0]), "--calibrate", str(digits), "-o", str(target), "--count", "32"]
    args += ["--precision", "int8", "--qat", "--qat-epochs", "3", "--threads", "1"]
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "imago.cli.main", *args],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 1/3"):
            process.send_signal(signal.SIGINT)
            break
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    assert "the same command goes on" in error
    assert not target.exists()
    done = imago(*args, "--json", str(tmp_path / "report.json"))
    assert done.returncode in (0, 1), done.stderr
    assert "epoch 1/3" not in done.stdout
    assert "epoch 3/3" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert any("trained on" in version["scheme"] for version in report["measured"])
    kept = report["qat"]  # empty where the training brought nothing and its start is kept
    assert not kept or kept["reached"] == report["accuracy_int8"]
    with Classifier(target) as classifier:
        assert classifier.spec.precision == "int8"
        assert classifier.spec.calibration.get("qat", {}) == kept
        assert classifier.self_test().passed
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == []


def test_flags_that_make_no_sense_are_one_line(digits: Path, tmp_path: Path) -> None:
    for wrong, said in (
        (["--qat-epochs", "3"], "needs --qat"),
        (["--qat", "--qat-epochs", "0"], "1 to 1000"),
    ):
        done = imago("quantize", str(tmp_path / "m.onnx"), "--calibrate", str(digits), *wrong)
        assert done.returncode == 2
        assert said in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_no_validation_pictures_is_told(
    ready: tuple[Path, onnx.ModelProto, Dataset], digits: Path, tmp_path: Path
) -> None:
    source, start, _ = ready
    data = load_dataset(digits)
    bare = Dataset(
        root=data.root,
        layout=data.layout,
        classes=data.classes,
        splits={k: v for k, v in data.splits.items() if k != "val"},
        fingerprint=data.fingerprint,
    )
    with pytest.raises(DataError, match="--val-fraction"):
        aware(source, start, bare, tmp_path / "w", OPTIONS)


def test_an_engine_that_disagrees_is_caught() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (1000, 4)).astype(np.float32)
    trained = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    compare(trained, trained).require()
    near = trained.copy()
    near[0] = [0.251, 0.249, 0.25, 0.25]
    other = near.copy()
    other[0] = [0.249, 0.251, 0.25, 0.25]
    assert compare(near, other).agreement == 1.0  # a tie within a rounding
    turned = trained.copy()
    turned[:6] = np.roll(trained[:6], 1, axis=1)
    assert compare(trained, turned).agreement < 0.995
    with pytest.raises(GateError, match=r"99\.\d+%.*1000 pictures"):
        compare(trained, turned).require()
    flat = 0.9 * trained + 0.025  # same classes, other confidences
    assert compare(trained, flat).agreement == 1.0
    with pytest.raises(GateError):
        compare(trained, flat).require()
