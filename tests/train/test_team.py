"""Several real processes train together: the same result as one, and nothing lost when one of them dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from imago.edge_runtime.errors import InputError
from imago.train.checkpoint import load_tensors
from imago.train.launch import Launch, WorkersError

from picture_support import striped_folders
from support import ROOT, imago

QUICK = ("--epochs", "3", "--batch-size", "16", "--threads", "1", "--seed", "3", "--optimizer", "momentum")
CLI = (sys.executable, "-m", "imago.cli.main", "train")
LONG = ("--epochs", "400", "--batch-size", "16", "--threads", "1", "--seed", "3")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = striped_folders(tmp_path_factory.mktemp("photos") / "photos")
    for picture in sorted((root / "across").iterdir())[:28]:
        picture.unlink()  # uneven: the classes get weights, which the processes have to share
    return root


def trained(photos: Path, out: Path, *more: str) -> list[dict[str, float]]:
    done = imago("train", str(photos), "--out", str(out), *QUICK, *more)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def furthest(a: Path, b: Path) -> float:
    """Largest difference of any weight or statistic."""
    one, two = (load_tensors(run / "weights.safetensors")[0] for run in (a, b))
    assert one.keys() == two.keys()
    return max(float((one[k].double() - two[k].double()).abs().max()) for k in one)


def require_alike(one: list[dict[str, float]], two: list[dict[str, float]], tolerance: float) -> None:
    assert len(one) == len(two) == 3
    for a, b in zip(one, two, strict=True):
        for key in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
            assert a[key] == pytest.approx(b[key], abs=tolerance), key


def test_two_processes_do_what_one_does(photos: Path, tmp_path: Path) -> None:
    one = trained(photos, tmp_path / "one")
    two = trained(photos, tmp_path / "two", "--devices", "2")
    require_alike(one, two, 1e-4)
    assert furthest(tmp_path / "one", tmp_path / "two") < 1e-4
    assert (tmp_path / "two" / "report.html").exists()


@pytest.mark.slow
def test_batch_normalisation_sees_the_whole_batch(photos: Path, tmp_path: Path) -> None:
    net = (
        "--model",
        "mobilenet_v3_small",
        "--size",
        "32",
        "--augment",
        "strong",
        "--mixup",
        "0",
        "--lr",
        "0.002",
    )
    one = trained(photos, tmp_path / "one", *net)
    two = trained(photos, tmp_path / "two", *net, "--devices", "2")
    # Dropout draws for each process's own pictures, so only the first digits can agree.
    require_alike(one, two, 0.15)
    tensors = load_tensors(tmp_path / "two" / "weights.safetensors")[0]
    assert any("running_mean" in name for name in tensors)


NORM = """
import sys, torch
from imago.cli.main import end
from imago.train.team import SharedBatchNorm, join, leave
team = join(cuda=False)
torch.manual_seed(0)
x = torch.randn(7, 4, 5, 3) * 3 + 40
weight = torch.randn(7, 4, 5, 3)
plain, shared = torch.nn.BatchNorm2d(4), SharedBatchNorm(4)
whole = x.clone().requires_grad_()
(plain(whole) * weight).sum().backward()
mine = x.tensor_split(2)[team.rank].clone().requires_grad_()
out = shared(mine)
(out * weight.tensor_split(2)[team.rank]).sum().backward()
torch.testing.assert_close(mine.grad, whole.grad.tensor_split(2)[team.rank], atol=1e-4, rtol=1e-3)
torch.testing.assert_close(out, plain(x).tensor_split(2)[team.rank], atol=1e-4, rtol=1e-4)
fresh = torch.nn.BatchNorm2d(4)
fresh(x)
torch.testing.assert_close(shared.running_mean, fresh.running_mean)
torch.testing.assert_close(shared.running_var, fresh.running_var)
grads = team.total(shared.weight.grad, shared.bias.grad)
torch.testing.assert_close(grads[0].float(), plain.weight.grad, atol=1e-3, rtol=1e-3)
torch.testing.assert_close(grads[1].float(), plain.bias.grad, atol=1e-3, rtol=1e-3)
print("same", float(shared.running_var[0]))
leave()
end(0)
"""


def in_two_processes(code: str, meeting: Path) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "IMAGO_RENDEZVOUS": meeting.as_uri()}
    env |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**env, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120) for process in both]
    return [(process.returncode, *words) for process, words in zip(both, said, strict=True)]


def test_shared_batch_norm_is_that_of_the_whole_batch(tmp_path: Path) -> None:
    """Seven pictures in parts of four and three, far from zero: outputs, gradients and statistics."""
    for code, said, error in in_two_processes(NORM, tmp_path / "meet"):
        assert code == 0, error
        assert said.startswith("same")


ENDS = """
import torch
from imago.cli.main import end
from imago.train.team import join, leave
team = join(cuda=False)
averaged = team.parallel(torch.nn.Linear(4, 4))  # alive to the end, as after an error
for step in range(3):
    averaged(torch.ones(2, 4)).sum().backward()
    team.agree(1.0)
leave()
print("done")
end(3)
"""


def test_a_process_that_met_others_ends_with_its_own_code(tmp_path: Path) -> None:
    """Without ``end`` every third of these pairs was aborted by a thread of gloo's (five of fifteen)."""
    for turn in range(4):
        for code, said, error in in_two_processes(ENDS, tmp_path / f"meet-{turn}"):
            assert (code, said) == (3, "done\n"), error


def started(photos: Path, out: Path) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en"}
    command = [sys.executable, "-m", "imago.cli.main", "train", str(photos), "--out", str(out), *LONG]
    process = subprocess.Popen(
        [*command, "--devices", "2"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 2/"):
            return process
    pytest.fail(f"epoch 2 never came: {process.communicate()[1]}")


def workers(launcher: subprocess.Popen[str]) -> list[psutil.Process]:
    found = psutil.Process(launcher.pid).children(recursive=True)
    return sorted(found, key=lambda p: int(p.environ()["RANK"]))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_is_told_and_the_run_goes_on(photos: Path, tmp_path: Path, rank: int) -> None:
    out = tmp_path / "run"
    launcher = started(photos, out)
    both = workers(launcher)
    assert len(both) == 2
    both[rank].kill()
    _, error = launcher.communicate(timeout=120)
    assert launcher.returncode == WorkersError.exit_code == 75
    lines = error.strip().splitlines()
    assert len(lines) == 1, error
    assert f"process {rank + 1} of 2 on this machine was killed by signal 9" in lines[0]
    assert f"imago train --resume {out}" in lines[0]
    assert not psutil.pid_exists(both[1 - rank].pid)
    before = len((out / "metrics.jsonl").read_text().splitlines())
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    run["config"]["epochs"] = before + 2  # enough to see that it goes on
    (out / "run.json").write_text(json.dumps(run), encoding="utf-8")
    if rank:
        done = imago("train", "--resume", str(out), "--devices", "2")
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        assert [row["epoch"] for row in rows] == list(range(1, before + 3))


@pytest.mark.slow
def test_resumed_in_two_processes_is_the_same_run(photos: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    trained(photos, whole, "--devices", "2")
    launcher = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "imago.cli.main",
            "train",
            str(photos),
            "--out",
            str(out),
            *QUICK,
            "--devices",
            "2",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert launcher.stdout is not None
    for line in launcher.stdout:
        if line.startswith("epoch 1/"):
            break
    for worker in workers(launcher):
        worker.kill()
    launcher.communicate(timeout=60)
    if not (out / "metrics.json").exists():
        assert imago("train", "--resume", str(out), "--devices", "2").returncode == 0
    assert furthest(whole, out) == 0


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_the_launcher_takes_its_processes_along(photos: Path, tmp_path: Path, how: signal.Signals) -> None:
    out = tmp_path / "run"
    launcher = started(photos, out)
    both = workers(launcher)
    launcher.send_signal(how)
    _, error = launcher.communicate(timeout=120)
    if how == signal.SIGINT:
        assert launcher.returncode == 130
        assert f"imago train --resume {out}" in error
        assert len(error.strip().splitlines()) == 1
    _, alive = psutil.wait_procs(both, timeout=60)
    assert not alive
    assert (out / "checkpoint.safetensors").exists()


def test_bad_pictures_are_one_line(tmp_path: Path) -> None:
    done = imago("train", str(tmp_path / "nowhere"), "--out", str(tmp_path / "run"), "--devices", "2")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "nowhere" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_machines_meet_at_a_port(photos: Path, tmp_path: Path) -> None:
    """Two launchers, as on two machines; only the first has the run's folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en"}
    both = [
        subprocess.Popen(
            [
                *CLI,
                *(str(photos), "--out", str(tmp_path / f"run{rank}"), *QUICK),
                *f"--nodes 2 --node-rank {rank} --rendezvous 127.0.0.1:{port}".split(),
            ],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in both:
        _, error = process.communicate(timeout=200)
        assert process.returncode == 0, error
    assert not (tmp_path / "run1").exists()
    trained(photos, tmp_path / "one")
    assert furthest(tmp_path / "one", tmp_path / "run0") < 1e-4


def test_impossible_launches_are_refused() -> None:
    with pytest.raises(InputError, match="--rendezvous"):
        Launch(devices=2, nodes=2)
    with pytest.raises(InputError, match="--node-rank is 2"):
        Launch(nodes=2, node_rank=2, rendezvous="host:1")
    with pytest.raises(InputError, match="--devices is 0"):
        Launch(devices=0)
    assert Launch(devices=4, nodes=2, rendezvous="[::1]:29500").world == 8
    assert Launch().world == 1
