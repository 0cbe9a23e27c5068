"""``imago compress`` on a small set: files that work, a stop that loses nothing, gates that hold."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.errors import GateError, InputError, StorageError
from imago.train.checkpoint import WEIGHTS, load_tensors, save_tensors
from imago.train.config import TrainConfig
from imago.train.interrupt import Interrupted
from imago.train.session import train
from imago.workflow.compress.choose import Gates
from imago.workflow.compress.options import CompressOptions
from imago.workflow.compress.session import CompressReport, compress

from picture_support import striped_folders
from support import imago, stop_after_each_step

OPTIONS = CompressOptions(
    gates=Gates(max_drop=60), macs=(0.5,), epochs=1, calibration=8, runs=20, threads=1, qat_epochs=0
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compress")
    data = striped_folders(folder / "photos")
    config = TrainConfig(model="lenet5", epochs=3, batch_size=8, threads=1, augment="none")
    train(data, config, folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def done(run: Path) -> CompressReport:
    return compress(run, run.parent / "small", OPTIONS)


def test_every_file_is_a_working_model(done: CompressReport) -> None:
    names = {c.recipe.name for c in done.candidates}
    assert names == {f"{p}{q}-onnx" for p in ("", "macs50-") for q in ("fp32", "int8", "int8-weights")}
    for c in done.candidates:
        with Classifier(c.path) as classifier:
            assert classifier.self_test().passed
            assert classifier.spec.precision == c.recipe.precision
            assert bool(classifier.spec.pruning) == (c.recipe.macs < 1)


def test_the_best_is_handed_out_with_its_program_and_page(done: CompressReport) -> None:
    assert done.choice.best is not None
    assert done.best.read_bytes() == done.choice.best.path.read_bytes()
    assert (done.folder / "predict.py").is_file() and (done.folder / "pareto.png").stat().st_size > 0
    page = (done.folder / "report.html").read_text(encoding="utf-8")
    assert all(c.recipe.name in page for c in done.candidates) and "<script" not in page
    assert done.final[0]["name"] == "fp32-onnx"


def test_weights_as_int8_compute_what_the_float_file_computes(done: CompressReport) -> None:
    by_name = {c.recipe.name: c for c in done.candidates}
    plain, stored = by_name["fp32-onnx"], by_name["int8-weights-onnx"]
    assert stored.bytes < 0.4 * plain.bytes
    tensor = np.random.default_rng(0).integers(0, 256, (1, 1, 32, 32), dtype=np.uint8)
    with Classifier(plain.path) as a, Classifier(stored.path) as b:
        assert np.abs(a.engine.run(tensor) - b.engine.run(tensor)).max() < 0.05


def test_where_int8_fails_it_is_trained_on(run: Path, tmp_path: Path) -> None:
    """A few features a thousand times as loud as the others: floats do not mind, one scale for all does."""
    shutil.copytree(run, tmp_path / "run")
    tensors, facts = load_tensors(run / WEIGHTS)
    loud = slice(0, 3)
    for layer, behind in (("c3", "c5"), ("c5", "f6"), ("f6", "output")):
        tensors[f"{layer}.weight"][loud] *= 1e3
        tensors[f"{layer}.bias"][loud] *= 1e3
        tensors[f"{behind}.weight"][:, loud] *= 1e-3
    save_tensors(tmp_path / "run" / WEIGHTS, tensors, facts)
    options = replace(OPTIONS, gates=Gates(max_drop=0), macs=(), precisions=("fp32", "int8"), qat_epochs=2)
    report = compress(tmp_path / "run", tmp_path / "small", options)
    (int8,) = (c for c in report.candidates if c.recipe.precision == "int8")
    with Classifier(int8.path) as classifier:
        qat = classifier.spec.calibration["qat"]
    assert qat["epochs"] == 2 and qat["reached"] >= qat["start"]
    assert sorted(p.name for p in int8.path.parent.glob("*.onnx")) == ["fp32-onnx.onnx", "int8-onnx.onnx"]


def test_a_second_call_makes_nothing_again_and_gates_may_change(run: Path, done: CompressReport) -> None:
    before = {c.path: c.path.stat().st_mtime_ns for c in done.candidates}
    largest = sorted(c.bytes for c in done.candidates)[1]
    again = compress(run, done.folder, replace(OPTIONS, gates=Gates(max_drop=60, max_bytes=largest)))
    assert {c.path: c.path.stat().st_mtime_ns for c in again.candidates} == before
    assert again.best.stat().st_size <= largest


def test_what_cannot_be_reached_is_told_with_what_was(run: Path, done: CompressReport) -> None:
    with pytest.raises(GateError, match="nearest") as caught:
        compress(run, done.folder, replace(OPTIONS, gates=Gates(max_drop=60, max_bytes=10)))
    assert caught.value.exit_code == 1


def test_stopped_before_the_first_candidate_it_goes_on(run: Path, tmp_path: Path) -> None:
    """The plain file is made by then, but nothing is judged."""

    def stop(text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(run, tmp_path / "out", replace(OPTIONS, macs=()), say=stop)
    assert (tmp_path / "out" / "models").is_dir()
    assert compress(run, tmp_path / "out", replace(OPTIONS, macs=())).best.is_file()


def test_stopped_anywhere_it_goes_on(run: Path, tmp_path: Path, done: CompressReport) -> None:
    out, stops = tmp_path / "out", 0
    with stop_after_each_step():
        while True:
            try:
                report = compress(run, out, OPTIONS)
                break
            except Interrupted as stop:
                assert "same command" in str(stop)
                stops += 1
    assert stops >= 3
    one, other = ({c.recipe.name: c.path.read_bytes() for c in r.candidates} for r in (report, done))
    assert one["fp32-onnx"] == other["fp32-onnx"]
    tensor, name = np.zeros((1, 1, 32, 32), np.uint8), "models/macs50-fp32-onnx.onnx"
    with Classifier(report.folder / name) as a, Classifier(done.folder / name) as b:
        assert np.array_equal(a.engine.run(tensor), b.engine.run(tensor))


def test_a_folder_in_use_or_of_other_settings_is_refused(
    run: Path, done: CompressReport, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(StorageError, match="exists already"):
        compress(run, tmp_path, OPTIONS)
    with pytest.raises(StorageError, match="other settings"):
        compress(run, done.folder, replace(OPTIONS, epochs=2))
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_the_command(run: Path, done: CompressReport) -> None:
    flags = ["--macs", "0.5", "--epochs", "1", "--count", "8", "--qat-epochs", "0", "--threads", "1"]
    asked = imago("compress", str(run), "-o", str(done.folder), "--max-drop", "60", *flags, "--json", "-")
    assert asked.returncode == 0, asked.stderr
    answer = json.loads(asked.stdout)
    assert Path(answer["best"]).is_file() and len(answer["candidates"]) == 6
    for bad in (["--max-latency", "8"], ["--max-size", "lots"], ["--macs", "1.5"], ["--max-drop", "-1"]):
        assert imago("compress", str(run), *bad).returncode == 2


def test_what_is_no_run_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        compress(tmp_path / "nowhere", tmp_path / "out", OPTIONS)
    assert not (tmp_path / "out").exists()
