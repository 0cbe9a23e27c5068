"""``imago run``: sources, stop conditions and signals, in real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import onnx_models
from support import ROOT, imago


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "m.onnx"
    onnx_models.lenet(path)
    return path


def test_synthetic_summary_as_json(model: Path, tmp_path: Path) -> None:
    lines = tmp_path / "seen.jsonl"
    done = imago(
        "run", str(model), "--source", "synthetic", "--frames", "9", "--jsonl", str(lines), "--json", "-"
    )
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert (data["processed"], data["dropped"], data["stopped_by"]) == (9, 0, "frames")
    assert data["latency"]["p50_us"] > 0
    assert len(lines.read_text(encoding="utf-8").splitlines()) == 9
    assert "frames in" in done.stderr


def test_video_is_seen_frame_by_frame_and_ends(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for level in range(12):
        writer.write(np.full((48, 64, 3), 20 * level, np.uint8))
    writer.release()
    done = imago("run", str(model), "--source", str(path), "--json", str(tmp_path / "s.json"))
    assert done.returncode == 0, done.stderr
    data = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert (data["processed"], data["stopped_by"]) == (12, "end")
    assert "12 frames" in done.stdout


def test_folder_has_a_line_for_each_picture(model: Path, tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / name)
    done = imago("run", str(model), "--source", str(tmp_path))
    assert done.returncode == 0
    shown = [line.split()[-1] for line in done.stdout.splitlines() if line.endswith(".png")]
    assert shown == ["a.png", "b.png"]


def test_seconds(model: Path) -> None:
    done = imago("run", str(model), "--source", "synthetic", "--seconds", "0.2", "--json", "-")
    assert json.loads(done.stdout)["stopped_by"] == "seconds"


@pytest.mark.skipif(os.name == "nt", reason="no POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("source", [["synthetic"], ["synthetic", "--realtime", "--fps", "0.02"]])
def test_a_signal_ends_in_order(model: Path, number: signal.Signals, source: list[str]) -> None:
    """Also while the loop waits for a frame that will not come for 50 seconds."""
    process = subprocess.Popen(
        [sys.executable, "-m", "imago.cli.main", "run", str(model), "--json", "-", "--source", *source],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en"},
    )
    assert process.stderr is not None
    while " s  " not in process.stderr.readline():  # the first answer
        assert process.poll() is None
    process.send_signal(number)
    out, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert json.loads(out)["stopped_by"] == number.name
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--source", "/dev/video97"], "no camera"),
        (["--source", "none.mp4"], "no such source"),
        (["--source", "synthetic", "--fps", "-1"], "no number above 0"),
        (["--source", "synthetic", "--frames", "0"], "no whole number"),
        ([], "--source"),
    ],
)
def test_bad_input_is_one_line(model: Path, args: list[str], words: str) -> None:
    done = imago("run", str(model), *args)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_disk_full_is_one_line(model: Path) -> None:
    done = imago("run", str(model), "--source", "synthetic", "--frames", "3", "--jsonl", "/dev/full")
    assert done.returncode == 2
    assert "cannot write /dev/full" in done.stderr
    assert "Traceback" not in done.stderr
