"""Real aarch64 wheels on an emulated board: the same bytes as on x86, the same answers, a doctor that holds.

Needs qemu-user-static and mmdebstrap; about 10 s for each run when the cache is warm.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import golden
import onnx_models
import tflite_models
from emulation.userland import Userland
from support import ROOT

System = Callable[[str], Userland]
IMAGO = ("python3", "-m", "imago.cli.main")
JOB = """
import json, platform, sys
sys.path.insert(0, "/share")
import golden
from imago.edge_runtime.classifier import Classifier
here = {"machine": platform.machine(), "python": platform.python_version(), "golden": golden.digest()}
for name in ("onnx", "tflite"):
    with Classifier(f"/share/m.{name}") as c:
        test = c.self_test()
        here[name] = [c.engine.name, test.stored and test.passed, test.difference]
print(json.dumps(here))
"""


@pytest.mark.parametrize(("suite", "board"), [("trixie", "pi5"), ("bookworm", "zero2")])
def test_bytes_and_answers_are_those_of_x86(system: System, share: Path, suite: str, board: str) -> None:
    onnx_models.lenet(share / "m.onnx")  # the stored answers are this machine's
    tflite_models.write(share / "m.tflite")
    shutil.copy(ROOT / "tests" / "golden.py", share)
    target = system(suite)
    done = target.run(("python3", "-c", JOB), share=share, board=board)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout.splitlines()[-1])
    assert (data["machine"], data["golden"]) == ("aarch64", golden.GOLDEN)
    assert data["python"].startswith(target.suite.python)
    for name, engine in (("onnx", "onnxruntime"), ("tflite", "litert")):
        assert data[name][:2] == [engine, True]
        assert data[name][2] < 1e-4


def test_the_doctor_on_a_board(system: System, share: Path) -> None:
    onnx_models.lenet(share / "m.onnx")
    done = system("trixie").run((*IMAGO, "doctor", "m.onnx", "--json", "-"), share=share, board="pi4")
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, dict[str, Any]] = {f["check"]: f for f in json.loads(done.stdout)["findings"]}
    assert "Raspberry Pi 4 Model B Rev 1.5: 4 × Cortex-A72" in found["board.model"]["text"]
    levels = {name: finding["level"] for name, finding in found.items()}
    assert levels["cpu.bits"] == levels["library.onnxruntime"] == levels["model.self-test"] == "ok"
    assert levels["cpu.dot-product"] == levels["cpu.atomics"] == "note"
    assert "aarch64" in found["cpu.bits"]["text"]


def test_the_loop_on_a_board(system: System, share: Path) -> None:
    onnx_models.lenet(share / "m.onnx")
    source = ("--source", "synthetic", "--frames", "20")
    command = (*IMAGO, "run", "m.onnx", *source, "--json", "-", "--jsonl", "/share/seen.jsonl")
    done = system("trixie").run(command, share=share, board="zero2")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["processed"] == 20
    assert len((share / "seen.jsonl").read_text().splitlines()) == 20


@pytest.mark.slow
def test_a_wheel_that_dies_on_old_processors(system: System, share: Path) -> None:
    """onnxruntime 1.21.0 uses atomics that ARMv8.0 lacks (microsoft/onnxruntime#23957): really an illegal
    instruction, on a Zero 2; and none on a Pi 5."""
    from emulation import debian

    target = system("bookworm")
    debian.wheels(share / "old", target.suite, ("onnxruntime==1.21.0", "numpy"))
    env = {"PYTHONPATH": "/share/site:/share/old"}
    command = (*IMAGO, "doctor", "--json", "-")
    for board, level, code in (("zero2", "problem", 1), ("pi5", "ok", 0)):
        done = target.run(command, share=share, board=board, env=env)
        found = {f["check"]: f for f in json.loads(done.stdout)["findings"]}
        assert (found["library.onnxruntime"]["level"], done.returncode) == (level, code), done.stdout
        assert ("SIGILL" in found["library.onnxruntime"]["text"]) == (level == "problem")
