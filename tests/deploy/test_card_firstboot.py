"""The first boot's program, in a folder of its own; the whole of it runs in tests/board/test_card_boot.py."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from imago.deploy.agent import agent_bytes
from imago.deploy.flash.payload import FIRST_BOOT

# A stand-in for the agent: says what it was called with, and ends as it is told.
AGENT = """import json, pathlib, sys
print(json.dumps({"event": "step", "name": "x", "text": "at work"}), flush=True)
pathlib.Path(__file__).parent.with_name("called").write_text(" ".join(sys.argv[1:]))
sys.exit(CODE)
"""


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """The folder imago/ of a boot partition."""
    folder = tmp_path / "imago"
    (folder / "kit" / "wheels").mkdir(parents=True)
    (folder / "kit" / "wheels" / "a.whl").touch()
    (folder / "board.imago").write_text("x")
    shutil.copy(FIRST_BOOT, folder)
    return folder


def install(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(folder / "firstboot.py"), "install"]
    env = {**os.environ, "IMAGO_ROOT": str(folder.parent / "root")}  # never this machine's own
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def agent(folder: Path, code: int) -> None:
    with zipfile.ZipFile(folder / "agent.pyz", "w") as archive:
        archive.writestr("__main__.py", AGENT.replace("CODE", str(code)))


def test_success_leaves_the_log_and_frees_the_room(card: Path) -> None:
    agent(card, 0)
    assert install(card).returncode == 0
    assert not (card / "kit").exists()
    assert not (card / "board.imago").exists()
    assert "installed" in json.loads((card / "installed.json").read_text())
    log = (card / "firstboot.log").read_text()
    assert "step: at work" in log
    assert "installed, and frames come through" in log
    called = (card / "called").read_text()
    words = f"up --root {card.parent}/root --timeout 300 --bundle {card}/board.imago --wheels {card}/kit"
    assert called == words


def test_failure_keeps_everything_for_the_next_attempt(card: Path) -> None:
    agent(card, 2)
    (card / "trusted.pub").write_text("key")
    assert install(card).returncode == 1
    assert (card / "kit" / "wheels" / "a.whl").exists()
    assert not (card / "installed.json").exists()
    assert "not installed; the next attempt follows" in (card / "firstboot.log").read_text()
    assert f"--trust {card}/trusted.pub" in (card / "called").read_text()


def test_the_real_agent_takes_these_words(card: Path) -> None:
    """It gets as far as the bundle, which is none."""
    (card / "agent.pyz").write_bytes(agent_bytes())
    done = install(card)
    assert done.returncode == 1
    assert "error: " in done.stdout
    assert "usage" not in done.stdout


def test_a_card_without_an_agent(card: Path) -> None:
    done = install(card)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_the_log_does_not_fill_the_card(card: Path) -> None:
    agent(card, 0)
    (card / "firstboot.log").write_text("x" * 1_000_001)
    install(card)
    assert (card / "firstboot.log").stat().st_size < 10_000
    assert (card / "firstboot.old").stat().st_size == 1_000_001


def test_people_can_read_the_doctor() -> None:
    spec = importlib.util.spec_from_file_location("firstboot", FIRST_BOOT)
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    findings = [
        {"level": "ok", "text": "fine", "remedy": ""},
        {"level": "problem", "text": "no room", "remedy": "larger card"},
    ]
    assert (
        module.readable(json.dumps({"event": "doctor", "findings": findings}))
        == "doctor: no room (larger card)"
    )
    assert module.readable(json.dumps({"event": "doctor", "findings": []})) == "doctor: fine"
    assert module.readable("plain words\n") == "plain words"
    assert module.main(["what"]) == 2


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not here")
    spec = importlib.util.spec_from_file_location("firstboot", FIRST_BOOT)
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    unit = tmp_path / "imago-firstboot.service"
    unit.write_text(module.UNIT_TEXT.replace(str(module.HERE), "/boot/firmware/imago"))
    done = subprocess.run([program, "verify", unit], capture_output=True, text=True, check=False)
    assert not [line for line in done.stderr.splitlines() if "imago-firstboot" in line], done.stderr
