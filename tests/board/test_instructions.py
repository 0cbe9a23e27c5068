"""The regression gate that no busy machine can shake: instructions per frame against the expectation."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from emulation import debian, instructions
from emulation.userland import Userland
from support import ROOT


@pytest.mark.slow
def test_a_frame_takes_as_many_instructions_as_expected(system: Callable[[str], Userland]) -> None:
    if not (ROOT / "benchmarks" / "instructions.expected.json").exists():
        pytest.skip("no expectation is committed: benchmarks/instructions.py --update writes it")
    system("trixie")  # skips where nothing can be emulated
    try:
        instructions.counter()
    except debian.Unavailable as error:
        pytest.skip(str(error))
    command = [sys.executable, "benchmarks/instructions.py", "--only", "lenet", "--repeats", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
