"""Whole training runs in real processes: resume is exact, interrupts lose nothing, bad input is one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from imago.edge_runtime.errors import DataError, ImagoError
from imago.train.batches import Batches, Normalise
from imago.train.checkpoint import load_tensors
from imago.train.config import TrainConfig
from imago.train.data.layouts import load_dataset
from imago.train.device import choose_place
from imago.train.interrupt import Interrupted
from imago.train.loop import Loop, Network
from imago.train.models.registry import build_model
from imago.train.results import fit_temperature
from imago.train.run import Run, load_sample
from imago.train.session import resume, train

from picture_support import striped_folders
from support import ROOT, imago, stop_after_each_step

QUICK = ("--epochs", "6", "--batch-size", "16", "--threads", "1", "--seed", "3")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return striped_folders(tmp_path_factory.mktemp("photos") / "photos")


def weights(run: Path) -> dict[str, np.ndarray]:
    return {k: v.numpy() for k, v in load_tensors(run / "weights.safetensors")[0].items()}


def same(a: Path, b: Path) -> bool:
    one, two = weights(a), weights(b)
    return one.keys() == two.keys() and all(np.array_equal(one[k], two[k]) for k in one)


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    done = imago("train", str(photos), "--out", str(out), *QUICK)
    assert done.returncode == 0, done.stderr
    return out


def test_a_run_learns_and_describes_itself(whole: Path) -> None:
    metrics = json.loads((whole / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["accuracy"] >= 0.9
    assert metrics["test"]["n"] == sum(row["n"] for row in metrics["test"]["per_class"])
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    run = Run.load(whole)
    assert run.classes == ("across", "竖直")
    assert run.config.augment == "standard"  # "auto" was resolved, so that a resumed run does the same
    assert {f["split"] for f in run.results} == {"val", "test"}
    images, labels = load_sample(whole)
    assert images.shape[1:] == (32, 32, 1)
    assert len(images) == len(labels) > 0
    html = (whole / "report.html").read_text(encoding="utf-8")
    assert "竖直" in html
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert "https://" not in html
    assert {"curves.png", "confusion.png", "per_class.svg"} <= {p.name for p in whole.iterdir()}
    assert not (whole / "checkpoint.safetensors").exists()


def start(photos: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "imago.cli.main", "train", str(photos), "--out", str(out), *QUICK]
    command += more
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_epoch(process: subprocess.Popen[str], number: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(f"epoch {number}/"):
            return
    pytest.fail(f"epoch {number} never came")


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_killed_and_resumed_is_the_same_run(photos: Path, whole: Path, tmp_path: Path, kill: int) -> None:
    out = tmp_path / "run"
    process = start(photos, out)
    wait_for_epoch(process, 2)
    process.send_signal(kill)
    _, error = process.communicate(timeout=60)
    if kill != signal.SIGKILL:
        assert process.returncode == 130
        assert f"imago train --resume {out}" in error
        assert "Traceback" not in error
    done = imago("train", "--resume", str(out))
    assert done.returncode == 0, done.stderr
    assert same(out, whole)
    rows = (out / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == 6


def test_killed_with_a_teacher_and_resumed_is_the_same_run(photos: Path, whole: Path, tmp_path: Path) -> None:
    through, out = tmp_path / "through", tmp_path / "run"
    taught = ("--teacher", str(whole), "--distill-weight", "0.5")
    done = imago("train", str(photos), "--out", str(through), *QUICK, *taught)
    assert done.returncode == 0, done.stderr
    process = start(photos, out, *taught)
    wait_for_epoch(process, 2)
    process.kill()
    process.communicate()
    done = imago("train", "--resume", str(out))
    assert done.returncode == 0, done.stderr
    assert same(out, through)
    assert not same(out, whole)


def test_an_interrupt_within_an_epoch_resumes_there(photos: Path, whole: Path, tmp_path: Path) -> None:
    """Stop after single steps, many times over; the weights come out the same."""
    out = tmp_path / "run"
    config = TrainConfig(epochs=6, batch_size=16, threads=1, seed=3)
    with stop_after_each_step():
        with pytest.raises(Interrupted):
            train(photos, config, out)
        for _ in range(7):
            with pytest.raises(Interrupted):
                resume(out)
    resume(out)
    assert same(out, whole)


def test_a_finished_run_is_not_overwritten(photos: Path, whole: Path) -> None:
    before = (whole / "weights.safetensors").read_bytes()
    done = imago("train", str(photos), "--out", str(whole), *QUICK)
    assert done.returncode == 2
    assert "exists already" in done.stderr
    assert (whole / "weights.safetensors").read_bytes() == before
    assert imago("train", "--resume", str(whole)).returncode == 2


def test_changed_pictures_are_noticed_on_resume(photos: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "photos"
    shutil.copytree(photos, copy)
    out = tmp_path / "run"
    process = start(copy, out)
    wait_for_epoch(process, 1)
    process.kill()
    process.communicate()
    (copy / "across" / "0.png").unlink()
    with pytest.raises(DataError, match="changed"):
        resume(out)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--lr", "0"], "expected"),
        (["--model", "lenet6"], "lenet6"),
        (["--freeze", "9"], "--freeze 9"),
        (["--device", "cuda"], "not available"),
        (["--weights", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--epochs", "three"], "--epochs"),
    ],
)
def test_bad_flags_are_one_line(photos: Path, tmp_path: Path, change: list[str], said: str) -> None:
    if "cuda" in change and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = imago("train", str(photos), "--out", str(tmp_path / "run"), *change)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_bad_data_is_one_line(tmp_path: Path, photos: Path) -> None:
    one = tmp_path / "one"
    (one / "only").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(one / "only" / "a.png")
    for folder in (tmp_path / "missing", one):
        done = imago("train", str(folder), "--out", str(tmp_path / "run"))
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1
        assert not (tmp_path / "run").exists()


def test_divergence_is_told(tmp_path: Path) -> None:
    """A weight that is no number makes every loss none: what a far too large learning rate ends in."""
    images = np.zeros((8, 32, 32, 1), np.uint8)
    module = build_model("lenet5", 2, channels=1, size=(32, 32)).module
    torch.nn.init.constant_(module.get_parameter("output.weight"), float("nan"))
    config = TrainConfig(epochs=1, batch_size=8, threads=1, augment="none")
    place = choose_place(config)
    batches = Batches(images, np.arange(8) % 2, Normalise((0.5,), (0.5,)), batch_size=8, device=place.device)
    loop = Loop(config, Network(module, ()), train=batches, val=None, place=place, folder=tmp_path)
    with pytest.raises(ImagoError, match="smaller --lr"):
        loop.run()


def test_full_disk_is_one_line(photos: Path, tmp_path: Path) -> None:
    """A real full disk: a file-size limit makes the kernel refuse the write."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "from imago.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en"}
    load_dataset(photos)
    done = subprocess.run(
        [sys.executable, "-c", code, "train", str(photos), "--out", str(tmp_path / "run"), *QUICK],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "cannot write" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list((tmp_path / "run").glob("*.safetensors"))


def test_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 5)).astype(np.float32)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(5, p=p) for p in shares], np.int64)
    assert fit_temperature(logits, labels) == pytest.approx(1.0, abs=0.06)
    assert fit_temperature(logits * 3, labels) == pytest.approx(3.0, abs=0.2)


@pytest.mark.slow
def test_kill_nine_at_random_moments(photos: Path, whole: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(8):
        out = tmp_path / f"run{number}"
        process = start(photos, out)
        time.sleep(float(rng.uniform(1.5, 6)))
        process.kill()
        process.communicate()
        if not (out / "run.json").exists():
            continue
        if not (out / "metrics.json").exists():
            assert imago("train", "--resume", str(out)).returncode == 0
        assert same(out, whole)
