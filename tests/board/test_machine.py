"""A whole emulated board with two cameras: V4L2 by the kernel's vivid, libcamera by real picamera2.

One boot does everything (``machine_job.py``); the tests look at what it left behind.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import golden
import onnx_models
import tflite_models
from emulation import debian, userland, vm
from support import ROOT

pytestmark = pytest.mark.slow
HAS_WATCHDOG = (ROOT / "edge_runtime" / "notify.py").exists()


@pytest.fixture(scope="module")
def left(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the machine worked in."""
    share = tmp_path_factory.mktemp("machine")
    userland.unpack_product(wheel, share)
    onnx_models.lenet(share / "m.onnx")
    tflite_models.write(share / "m.tflite", tflite_models.lenet(), tflite_models.spec_of(32))
    shutil.copy(ROOT / "tests" / "golden.py", share)
    shutil.copy(Path(__file__).with_name("machine_job.py"), share)
    try:
        machine = vm.machine()
    except (debian.Unavailable, RuntimeError) as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    more = ["--watchdog"] if HAS_WATCHDOG else []
    done = machine.run(["python3", "machine_job.py", *more], share=share, timeout=1800)
    assert done.returncode == 0, done.stderr
    return share


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / f"{name}.json").read_text())


@pytest.mark.parametrize("name", ["v4l2", "libcamera"])
def test_the_loop_reads_real_cameras(left: Path, name: str) -> None:
    result = read(left, name)
    assert result["code"] == 0, result
    assert json.loads(result["out"])["processed"] == 20


def test_the_bytes_are_those_of_x86(left: Path) -> None:
    assert read(left, "golden") == golden.GOLDEN


def test_the_doctor_finds_the_camera(left: Path) -> None:
    result = read(left, "doctor")
    found = json.loads(result["out"])["findings"]
    levels = {finding["check"]: finding["level"] for finding in found}
    assert levels["model.self-test"] == levels["library.picamera2"] == levels["camera.usb"] == "ok", result
    assert any("vivid" in finding["text"] for finding in found)
    assert result["code"] == 0


# The test picture keeps 0.9 MB more for itself than a camera does; on a busy PC it was 15.0.
MISSED = pytest.mark.xfail(reason="+10.1 MB measured (docs/results.md)", strict=False)


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("onnx", "160x120"),
        ("onnx", "640x480"),
        ("onnx", "camera 640x480"),
        ("tflite", "160x120"),
        ("tflite", "camera 640x480"),
        pytest.param("tflite", "640x480", marks=MISSED),
    ],
)
def test_memory_beyond_the_bare_engine(left: Path, kind: str, size: str) -> None:
    memory = read(left, "memory")
    assert memory[f"{kind} {size}"] - memory[f"bare {kind}"] <= 10, memory


@pytest.mark.skipif(not HAS_WATCHDOG, reason="imago run does not speak to systemd in this version")
def test_the_watchdog_is_fed(left: Path) -> None:
    result = read(left, "watchdog")
    assert "READY=1" in result["said"], result
    assert result["said"].count("WATCHDOG=1") >= 3
    assert "STOPPING=1" in result["said"]
    assert result["code"] == 0
