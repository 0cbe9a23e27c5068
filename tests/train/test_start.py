"""A run that starts from another run: what it takes over, what it refuses, and that it can be resumed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from imago.cli.main import main
from imago.edge_runtime.errors import InputError
from imago.train.checkpoint import load_tensors
from imago.train.config import TrainConfig
from imago.train.interrupt import Interrupted
from imago.train.run import Run
from imago.train.session import resume, train

from picture_support import class_folders, striped_folders
from support import stop_after_each_step

QUICK = TrainConfig(epochs=2, batch_size=16, threads=1, seed=3)
STILL = {"lr": 1e-9, "optimizer": "sgd", "ema": 0.0, "epochs": 1}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return striped_folders(tmp_path_factory.mktemp("start") / "photos")


@pytest.fixture(scope="module")
def small(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with as little as possible left at its default."""
    config = replace(
        QUICK, model="mobilenet_v3_small", width_mult=0.5, size=40, fit="letterbox", stem=1, epochs=1
    )
    out = tmp_path_factory.mktemp("runs") / "small"
    train(photos, config, out)
    return out


@pytest.fixture(scope="module")
def lenet(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "lenet"
    train(photos, QUICK, out)
    return out


@pytest.fixture(scope="module")
def further(photos: Path, lenet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "further"
    train(photos, replace(QUICK, model="", init=lenet), out)
    return out


def weights(run: Path) -> dict[str, Tensor]:
    return load_tensors(run / "weights.safetensors")[0]


def same(a: Path, b: Path) -> bool:
    one, two = weights(a), weights(b)
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_network_input_and_statistics_are_taken_over(photos: Path, small: Path, tmp_path: Path) -> None:
    said: list[str] = []
    out = tmp_path / "run"
    config = TrainConfig(init=small, epochs=1, batch_size=16, threads=1)
    train(photos, config, out, say=said.append)
    before, after = Run.load(small), Run.load(out)
    assert (after.model, after.input, after.mean, after.std) == (
        before.model,
        before.input,
        before.mean,
        before.std,
    )
    assert (after.config.model, after.config.width_mult) == ("mobilenet_v3_small", 0.5)
    assert (after.config.size, after.config.fit, after.config.stem) == (40, "letterbox", 1)
    assert after.lineage["init"]["name"] == "small"
    assert any(line.startswith("starts from small (mobilenet_v3_small, val ") for line in said)


def test_weights_are_taken_over(photos: Path, lenet: Path, tmp_path: Path) -> None:
    """A training that hardly moves ends where the other run ended."""
    out = tmp_path / "run"
    train(photos, replace(QUICK, model="", init=lenet, **STILL), out)
    for name, value in weights(out).items():
        torch.testing.assert_close(value, weights(lenet)[name], rtol=0, atol=1e-6)
    assert Run.load(out).results == Run.load(lenet).results


def test_finer_maps_on_the_same_weights(photos: Path, small: Path, tmp_path: Path) -> None:
    said: list[str] = []
    out = tmp_path / "run"
    train(photos, replace(QUICK, model="", init=small, stem=2, **STILL), out, say=said.append)
    before, after = Run.load(small), Run.load(out)
    assert (before.model["stem"], after.model["stem"], after.config.stem) == (1, 2, 2)
    assert "--stem 2, where that run has 1" in " ".join(said)
    maps = []
    for run, folder in ((before, small), (after, out)):
        module = run.load_module(folder)
        maps.append(module.features(torch.zeros(1, 3, 40, 40)).shape[-1])
    assert maps == [3, 5]
    for name, value in weights(out).items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            torch.testing.assert_close(value, weights(small)[name], rtol=0, atol=1e-6)


def test_what_pruning_removed_stays_on_record(photos: Path, lenet: Path, tmp_path: Path) -> None:
    copy = tmp_path / "pruned"
    shutil.copytree(lenet, copy)
    replace(Run.load(copy), pruning={"params": 0.5}).save(copy)
    train(photos, replace(QUICK, model="", init=copy, epochs=1), tmp_path / "run")
    assert Run.load(tmp_path / "run").pruning == {"params": 0.5}


def test_other_classes_get_a_fresh_head_on_the_same_backbone(lenet: Path, tmp_path: Path) -> None:
    """The same number of classes under other names, too: its answers would mean nothing."""
    for names in (("ant", "bee"), ("ant", "bee", "fly")):
        data = class_folders(tmp_path / f"data{len(names)}", dict.fromkeys(names, 14))
        out, said = tmp_path / f"run{len(names)}", list[str]()
        train(data, replace(QUICK, model="", init=lenet, **STILL), out, say=said.append)
        assert any("last layer (output) starts fresh" in line for line in said)
        assert any("other pictures" in line for line in said)
        assert Run.load(out).classes == names
        old, new = weights(lenet), weights(out)
        torch.testing.assert_close(new["f6.weight"], old["f6.weight"], rtol=0, atol=1e-6)
        assert new["output.weight"].shape == (len(names), 84)
        if len(names) == 2:
            assert not torch.allclose(new["output.weight"], old["output.weight"], atol=1e-3)


def test_stopped_and_resumed_is_the_same_run(
    photos: Path, lenet: Path, further: Path, tmp_path: Path
) -> None:
    """Even after the run it started from is gone: that one is needed for the start only."""
    origin, out = tmp_path / "lenet", tmp_path / "run"
    shutil.copytree(lenet, origin)
    with stop_after_each_step(), pytest.raises(Interrupted):
        train(photos, replace(QUICK, model="", init=origin), out)
    shutil.rmtree(origin)
    resume(out)
    assert same(out, further)


def test_killed_before_the_first_checkpoint(photos: Path, lenet: Path, further: Path, tmp_path: Path) -> None:
    origin, out = tmp_path / "lenet", tmp_path / "run"
    shutil.copytree(lenet, origin)
    with stop_after_each_step(), pytest.raises(Interrupted):
        train(photos, replace(QUICK, model="", init=origin), out)
    (out / "checkpoint.safetensors").unlink()
    kept = (origin / "weights.safetensors").read_bytes()
    (origin / "weights.safetensors").write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(InputError, match="has changed"):
        resume(out)
    (origin / "weights.safetensors").write_bytes(kept)
    resume(out)
    assert same(out, further)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model", "lenet5"], "--model lenet5: the run "),
        (["--width", "1"], "has 0.5; leave out --width"),
        (["--size", "64"], "has 40; leave out --size"),
        (["--fit", "center-crop"], "has letterbox; leave out --fit"),
        (["--pretrained"], "leave out --pretrained"),
        (["--init", "nowhere"], "not a training run"),
    ],
)
def test_flags_that_contradict_the_run_are_one_line(
    photos: Path,
    small: Path,
    tmp_path: Path,
    flags: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    assert main(["train", str(photos), "--init", str(small), "--out", str(out), *flags]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.strip().splitlines()) == 1
    assert not out.exists()


def test_the_command_names_the_folder_after_the_network(
    photos: Path,
    lenet: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--epochs", "1", "--batch-size", "16", "--threads", "1", "--json", "-"]
    assert main(["train", str(photos), "--init", str(lenet), *flags]) == 0
    assert json.loads(capsys.readouterr().out)["run"] == str(Path("runs") / "photos-lenet5")
