"""The board's install for real: the built wheel in a fresh virtual environment, base + [camera], no torch."""

from __future__ import annotations

import json
import os
import subprocess
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnx_models import lenet
from support import ROOT

ROOMS = {"train", "export", "edge_runtime", "quantize", "workflow", "cli"}


def run(*command: str | Path, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    env["IMAGO_LANG"] = "en"
    return subprocess.run(
        [str(c) for c in command], cwd=cwd, env=env, capture_output=True, text=True, check=check, timeout=300
    )


@pytest.fixture(scope="module")
def board(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder ``bin`` of a virtual environment with nothing but the base install and [camera]."""
    folder = tmp_path_factory.mktemp("board")
    venv.create(folder, with_pip=True)
    binaries = folder / ("Scripts" if os.name == "nt" else "bin")
    done = run(binaries / "python", "-m", "pip", "install", "-q", f"{wheel}[camera]", cwd=folder, check=False)
    if done.returncode:
        if os.environ.get("CI"):
            pytest.fail(done.stderr)
        pytest.skip(f"pip could not fetch the base packages (no internet?): {done.stderr[-200:]}")
    return binaries


def test_the_wheel_holds_every_room_and_its_texts(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {n.split("/")[1] for n in names if n.startswith("imago/")} >= ROOMS
    assert "imago/edge_runtime/locale/zh.core.json" in names
    static = ROOT / "edge_runtime" / "web" / "static"
    assert {f"imago/{path.relative_to(ROOT)}" for path in static.iterdir()} <= set(names)
    assert not [n for n in names if "/test" in n.lower() or n.endswith("ruff.toml") or ".dev" in n]
    sources = {f"imago/{p.relative_to(ROOT)}" for room in ROOMS for p in (ROOT / room).rglob("*.py")}
    assert sources <= set(names)


def test_base_and_camera_are_enough_to_predict_run_and_bench(board: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    lenet(model)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (50, 60, 3), dtype=np.uint8)).save(tmp_path / "照片.png")
    missing = run(board / "python", "-c", "import torch", cwd=tmp_path, check=False)
    assert missing.returncode == 1
    imago = board / "imago"
    assert "predict" in run(imago, "--help", cwd=tmp_path).stdout
    answer = json.loads(run(imago, "predict", model, "照片.png", "--json", "-", cwd=tmp_path).stdout)
    assert len(json.dumps(answer)) > 20
    live = run(imago, "run", model, "--source", "synthetic", "--frames", "20", "--json", "-", cwd=tmp_path)
    assert json.loads(live.stdout)["processed"] == 20
    keep = ("--realtime", "--frames", "45", "--motion", "off", "--records", "r", "--web", "localhost:0")
    run(imago, "run", model, "--source", "synthetic", *keep, cwd=tmp_path)
    assert "ant" in run(imago, "events", "r", cwd=tmp_path).stdout
    speed = run(imago, "bench", model, "--runs", "20", "--json", "-", cwd=tmp_path)
    assert json.loads(speed.stdout)["p50_us"] > 0


def test_a_user_program_called_train_py_is_not_shadowed(board: Path, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("MINE = True\n", encoding="utf-8")
    code = "import train, imago.train.dataset; assert train.MINE"
    run(board / "python", "-c", code, cwd=tmp_path)


def test_training_without_its_extra_is_one_clear_line(board: Path, tmp_path: Path) -> None:
    done = run(board / "imago", "train", ".", cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert "imago-edge[train]" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
