"""The regression gate that no busy machine can shake: instructions per frame against the expectation."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from emulation import debian, instructions
from emulation.userland import Userland
from support import ROOT, need_converter

pytestmark = pytest.mark.slow
TWO_LOOPS = """
import sys
def work(times):
    for _ in range(times):
        pass
for times in (1000, 1000, 2000):
    mark()
    work(times)
    mark()
"""


@pytest.fixture
def counter(system: Callable[[str], Userland]) -> Userland:
    """A userland whose instructions can be counted."""
    target = system("trixie")
    try:
        instructions.counter()
    except debian.Unavailable as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    return target


def test_counts_follow_the_work_and_repeat(counter: Userland, share: Path) -> None:
    counts = [instructions.count(counter, TWO_LOOPS, (), share=share, board="pi4")[0] for _ in range(2)]
    steps = [[b - a for a, b in zip(marks[::2], marks[1::2], strict=True)] for marks in counts]
    first, second, twice = steps[0]
    assert second == pytest.approx(first, rel=0.2)  # the first is not specialised yet
    assert twice == pytest.approx(2 * second, rel=0.1)
    assert steps[1] == pytest.approx(steps[0], rel=0.005)


def test_a_frame_takes_as_many_instructions_as_expected(counter: Userland) -> None:
    need_converter()
    command = [sys.executable, "benchmarks/instructions.py", "--check", "--only", "lenet5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
