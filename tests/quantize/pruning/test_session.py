"""Whole prunings of a trained network: what comes out, kill and resume, a goal out of reach, used again."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.errors import DataError, InputError, StorageError
from imago.quantize.pruning.job import workspace
from imago.quantize.pruning.options import PruneOptions
from imago.quantize.pruning.session import prune, resume
from imago.train.checkpoint import load_tensors
from imago.train.config import TrainConfig
from imago.train.interrupt import Interrupted
from imago.train.models.registry import ModelConfig
from imago.train.models.summary import describe, totals
from imago.train.run import Run
from imago.train.session import train
from imago.workflow.steps import export_run

from picture_support import striped_folders
from support import ROOT, imago, stop_after_each_step


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LeNet-5 that tells stripes apart; its data set lies beside it."""
    root = tmp_path_factory.mktemp("set")
    striped_folders(root / "stripes")
    train(root / "stripes", TrainConfig(epochs=8, batch_size=16, threads=1), root / "run")
    return root / "run"


QUICK = {"steps": 2, "epochs": 3, "threads": 1, "pictures": 64}


@pytest.fixture(scope="module")
def pruned(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with half of the multiplications, in two steps, without interruption."""
    out = tmp_path_factory.mktemp("pruned") / "half"
    return prune(trained, PruneOptions(macs=0.5, **QUICK), out).folder


def weights(run: Path) -> dict[str, np.ndarray]:
    return {k: v.numpy() for k, v in load_tensors(run / "weights.safetensors")[0].items()}


def same(a: Path, b: Path) -> bool:
    one, two = weights(a), weights(b)
    return one.keys() == two.keys() and all(np.array_equal(one[k], two[k]) for k in one)


def test_a_pruned_run_is_a_run_like_any_other(trained: Path, pruned: Path) -> None:
    run, facts = Run.load(pruned), Run.load(pruned).pruning
    params, macs = totals(describe(ModelConfig.from_dict(run.model)))
    whole_params, whole_macs = totals(describe(ModelConfig.from_dict(Run.load(trained).model)))
    assert (facts["macs"], facts["params"]) == (
        {"before": whole_macs, "after": macs},
        {"before": whole_params, "after": params},
    )
    assert 0.3 * whole_macs < macs <= 0.5 * whole_macs
    assert facts["from"]["name"] == "run"
    assert facts["goal"] == {"macs": 0.5}
    assert facts["accuracy"]["n"] == run.results[0]["n"]
    assert facts["accuracy"]["after"] == pytest.approx(run.results[0]["top1"])
    assert facts["accuracy"]["before"] == pytest.approx(Run.load(trained).results[0]["top1"])
    assert facts["accuracy"]["after"] >= 0.8
    assert {figure["split"] for figure in run.results} == {"val", "test"}
    assert run.lineage["init"]["name"] == "run"
    assert {"pruning.png", "pruning.svg", "report.html"} <= {p.name for p in pruned.iterdir()}
    assert "What pruning took" in (pruned / "report.html").read_text(encoding="utf-8")
    assert not workspace(pruned).exists()
    assert str(trained.parent) not in json.dumps(facts)  # no paths of this machine in the contract


def test_it_can_be_exported_and_carries_its_facts(pruned: Path, tmp_path: Path) -> None:
    exported = export_run(pruned, tmp_path / "model.onnx")
    with Classifier(exported.model) as classifier:
        assert classifier.self_test().passed
        assert classifier.spec.pruning["macs"] == Run.load(pruned).pruning["macs"]
    assert exported.bytes == pytest.approx(Run.load(pruned).pruning["fp32_bytes"]["after"], rel=0.05)


def test_a_pruned_run_is_read_without_the_pruning_library(pruned: Path) -> None:
    code = (
        "import sys; sys.modules['torch_pruning'] = None; from pathlib import Path; "
        "from imago.train.run import Run; p = Path(sys.argv[1]); print(Run.load(p).load_module(p).c1)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".dev")}
    command = [sys.executable, "-c", code, str(pruned)]
    done = subprocess.run(command, check=False, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Conv2d(1, " in done.stdout


def test_it_can_be_trained_on_and_pruned_again(trained: Path, pruned: Path, tmp_path: Path) -> None:
    run = Run.load(pruned)
    data = trained.parent / "stripes"
    train(data, TrainConfig(init=pruned, epochs=1, batch_size=16, threads=1), tmp_path / "on")
    on = Run.load(tmp_path / "on")
    assert on.model == run.model
    assert on.pruning == run.pruning
    again = prune(tmp_path / "on", PruneOptions(params=0.6, steps=1, epochs=1, threads=1), tmp_path / "again")
    assert again.after.params <= 0.6 * again.before.params
    assert again.facts["earlier"] == run.pruning
    assert Run.load(tmp_path / "again").load_module(tmp_path / "again")


def test_another_run_can_teach(trained: Path, tmp_path: Path) -> None:
    """A larger network that knows the same classes; one that knows others is refused, nothing is written."""
    data = trained.parent / "stripes"
    larger = TrainConfig(model="resnet18", size=32, epochs=1, batch_size=16, threads=1)
    train(data, larger, tmp_path / "larger")
    options = PruneOptions(macs=0.5, teacher=str(tmp_path / "larger"), **QUICK | {"steps": 1, "epochs": 1})
    out = prune(trained, options, tmp_path / "taught").folder
    assert Run.load(out).config.teacher == tmp_path / "larger"
    assert Run.load(out).lineage["teacher"]["model"] == "resnet18"
    (striped_folders(tmp_path / "others") / "across").rename(tmp_path / "others" / "other")
    train(tmp_path / "others", TrainConfig(epochs=1, batch_size=16, threads=1), tmp_path / "stranger")
    with pytest.raises(InputError, match="knows other classes"):
        prune(trained, PruneOptions(macs=0.5, teacher=str(tmp_path / "stranger")), tmp_path / "no")
    assert not (tmp_path / "no").exists()
    assert not workspace(tmp_path / "no").exists()


def test_intermediate_steps_never_see_the_test_split(trained: Path, tmp_path: Path) -> None:
    out, seen = tmp_path / "out", []

    def look(text: str) -> None:
        for folder in sorted(workspace(out).glob("*-trained")):
            if (folder / "metrics.json").exists():
                seen.append(set(json.loads((folder / "metrics.json").read_text())))
        for folder in sorted(workspace(out).glob("*-cut")):
            if (folder / "run.json").exists():
                assert {figure["split"] for figure in Run.load(folder).results} == {"val"}

    prune(trained, PruneOptions(macs=0.6, **QUICK), out, say=look)
    assert seen
    assert all("val" in names and "test" not in names for names in seen)


def test_stopped_after_every_single_step_it_ends_in_the_same_weights(
    trained: Path, pruned: Path, tmp_path: Path
) -> None:
    out, stops = tmp_path / "half", 0
    with stop_after_each_step():
        with pytest.raises(Interrupted, match=f"step 1 of 2.*--resume {out}"):
            prune(trained, PruneOptions(macs=0.5, **QUICK), out)
        while workspace(out).exists():
            stops += 1
            with contextlib.suppress(Interrupted):
                resume(out)
    assert stops > 5
    assert same(out, pruned)
    assert Run.load(out).pruning == Run.load(pruned).pruning


def test_the_command_line_resumes_what_was_begun(trained: Path, pruned: Path, tmp_path: Path) -> None:
    out = tmp_path / "half"
    with stop_after_each_step(), pytest.raises(Interrupted):
        prune(trained, PruneOptions(macs=0.5, **QUICK), out)
    blocked = imago("prune", str(trained), "--macs", "0.5", "-o", str(out))
    assert blocked.returncode == 2
    assert f"--resume {out}" in blocked.stderr
    done = imago("prune", "--resume", str(out), "--json", "-")
    assert done.returncode == 0, done.stderr
    assert same(out, pruned)
    assert json.loads(done.stdout)["macs"] == Run.load(pruned).pruning["macs"]
    assert "95 % interval" in done.stderr
    with pytest.raises(InputError, match="nothing to resume"):
        resume(out)


@pytest.mark.slow
@pytest.mark.parametrize("line", ["step 1 of 2", "epoch 1/1", "step 2 of 2", "epoch 2/3"])
def test_killed_anywhere_and_resumed(trained: Path, pruned: Path, tmp_path: Path, line: str) -> None:
    out = tmp_path / "half"
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en", "PYTHONUNBUFFERED": "1"}
    flags = [text for name, value in QUICK.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "imago.cli.main", "prune", str(trained), "--macs", "0.5", "-o", str(out)]
    process = subprocess.Popen([*command, *flags], env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert any(text.startswith(line) for text in process.stdout)
    process.kill()
    process.communicate()
    resume(out)
    assert same(out, pruned)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"macs": 0.01}, r"cannot be reached: the network has 41\d,\d+ MACs, .* would still have \d"),
        ({"params": 0.001}, "cannot be reached"),
        ({"size": 2_000}, "cannot be reached: the network has about 25.* kB of fp32"),
        ({"size": 5_000, "precision": "int8"}, "kB of int8"),
        ({"size": 9_000_000}, "nothing to prune"),
        ({"macs": 0.5, "importance": "bn"}, "batch normalisation"),
    ],
)
def test_a_goal_out_of_reach_is_told_before_anything_is_written(
    trained: Path, tmp_path: Path, options: dict[str, object], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        prune(trained, PruneOptions(**options), tmp_path / "out")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_size_is_kept(trained: Path, tmp_path: Path) -> None:
    report = prune(trained, PruneOptions(size=120_000, steps=1, epochs=1, threads=1), tmp_path / "out")
    assert report.after.fp32_bytes <= 120_000
    assert export_run(tmp_path / "out").bytes <= 120_000
    assert report.facts["goal"] == {"size": 120_000, "precision": "fp32"}


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"macs": 0.5, "params": 0.5},
        {"macs": 1.0},
        {"params": -1.0},
        {"size": 0},
        {"macs": 0.5, "importance": "luck"},
        {"macs": 0.5, "steps": 0},
        {"macs": 0.5, "pictures": 0},
    ],
)
def test_options_that_make_no_sense(flags: dict[str, object]) -> None:
    with pytest.raises(InputError):
        PruneOptions(**flags)  # type: ignore[arg-type]


def test_other_pictures_and_taken_places_are_refused(trained: Path, tmp_path: Path) -> None:
    data = striped_folders(tmp_path / "data", count=12)
    with pytest.raises(DataError, match="not those that"):
        prune(trained, PruneOptions(macs=0.5), tmp_path / "out", data=data)
    (tmp_path / "taken").mkdir()
    with pytest.raises(StorageError, match="exists already"):
        prune(trained, PruneOptions(macs=0.5), tmp_path / "taken")
    with pytest.raises(InputError, match="not a training run"):
        prune(data, PruneOptions(macs=0.5), tmp_path / "out")
    with pytest.raises(InputError, match="no pruning"):
        resume(tmp_path / "nowhere")


def test_a_moved_data_set_is_found_with_data(trained: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.symlink_to(trained.parent / "stripes")
    options = PruneOptions(macs=0.7, steps=1, epochs=1, threads=1)
    report = prune(trained, options, tmp_path / "out", data=moved)
    assert report.after.macs <= 0.7 * report.before.macs


@pytest.mark.parametrize("size", ["abc", "-1kB", "12 XB", "", "1e9"])
def test_sizes_are_read_strictly(size: str) -> None:
    done = imago("prune", "run", f"--size={size}")
    assert done.returncode == 2
    assert "300kB" in done.stderr
