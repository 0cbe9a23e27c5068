"""The systemd unit: what systemd itself says of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from imago.deploy.board.unit import unit_text

OK = 5.0  # systemd's own words: below it "OK", from 5.0 on "MEDIUM"


def need_systemd_analyze() -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        message = "no systemd-analyze here: sudo apt install systemd"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return program


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    path = tmp_path / "imago.service"
    path.write_text(unit_text(Path("/opt/imago")))
    return path


def test_systemd_rates_the_unit_ok_or_better(unit: Path) -> None:
    words = [need_systemd_analyze(), "security", "--offline=true", "--json=short", str(unit)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    open_doors = {row["json_field"]: row for row in json.loads(done.stdout) if row["set"] is False}
    words = [need_systemd_analyze(), "security", "--offline=true", "--threshold=49", "--no-pager", str(unit)]
    rated = subprocess.run(words, capture_output=True, text=True, check=False)
    assert rated.returncode == 0, rated.stdout[-600:]
    line = next(line for line in rated.stdout.splitlines() if "Overall exposure level" in line)
    assert float(line.split(":")[1].split()[0]) < OK, line
    for door in ("NoNewPrivileges", "ProtectSystem", "CapabilityBoundingSet_CAP_SYS_ADMIN", "ProtectHome"):
        assert door not in open_doors


def test_systemd_knows_every_directive(unit: Path) -> None:
    """Warnings would name a misspelt one; newer ones (254) are not known to the oldest board (252)."""
    done = subprocess.run(
        [need_systemd_analyze(), "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    said = [line for line in done.stderr.splitlines() if "Unknown" in line or "Failed to parse" in line]
    assert all("RestartSteps" in line or "RestartMaxDelaySec" in line for line in said), said
