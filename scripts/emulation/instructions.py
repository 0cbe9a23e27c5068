"""Instructions that a program executes on a board, counted by qemu: the same figure on a busy machine.

Not cycles: a change of caches, of memory traffic or of the processor's width does not show. What shows is a
copy more, a loop in Python, a kernel that is no longer chosen.

The program says where counting begins and ends (``MARK``): the start of a process, some hundred million
instructions that differ by a few per cent from run to run, never enters the figure.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from emulation import debian
from emulation.boards import BOARDS
from emulation.cache import cached
from emulation.userland import Userland

SOURCE = Path(__file__).with_name("count.c")
MARK = "import os; mark = lambda: os.getsid(0)"  # for the program: mark() prints the count so far
# One thread, one order of dictionaries, one layout of memory.
CALM = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
}
PLUGIN_VERSIONS = range(1, 8)  # of qemu's plugin interface; what is used here has stayed the same


def counter() -> Path:
    """A folder with a counting qemu. Raises Unavailable where qemu-user or a C compiler is missing."""
    debian.need(*debian.COUNTING)
    qemu = Path("/usr/bin/qemu-aarch64")
    if qemu.is_symlink():  # qemu-user-static's, which takes no plugins
        raise debian.Unavailable("the emulated board needs: sudo apt install qemu-user")
    version = debian.run(qemu, "--version").splitlines()[0]
    return cached("counter", [2, version, SOURCE.read_text()], lambda work: _build(work, qemu))


def count(
    system: Userland, code: str, arguments: Sequence[str], *, share: Path, board: str
) -> tuple[list[int], str]:
    """Counts at the marks of ``python3 -c code arguments…`` on ``board``, and what it printed."""
    command = ["/opt/count/qemu-aarch64", "-cpu", BOARDS[board].cpu, "-seed", "42"]
    command += ["-plugin", "/opt/count/libcount.so", "/usr/bin/python3", "-c", f"{MARK}\n{code}", *arguments]
    done = system.run(command, share=share, board=board, env=CALM, counter=counter())
    if done.returncode:
        raise RuntimeError(f"counting failed ({done.returncode}): {done.stderr[-800:]}")
    return [int(n) for n in re.findall(r"^instructions (\d+)$", done.stderr, re.MULTILINE)], done.stdout


def _build(work: Path, qemu: Path) -> None:
    shutil.copy(qemu, work / "qemu-aarch64")
    plugin = work / "libcount.so"
    for version in PLUGIN_VERSIONS:
        debian.run("gcc", "-shared", "-fPIC", "-O2", f"-DPLUGIN_VERSION={version}", "-o", plugin, SOURCE)
        tried = subprocess.run(
            [qemu, "-plugin", plugin, "/nonexistent"], capture_output=True, text=True, check=False
        )
        if "plugin" not in tried.stderr.lower():  # all that it minds is that there is no such program
            return
    raise debian.Unavailable(f"this qemu does not take the counting plugin: {tried.stderr[-300:]}")
