"""Instructions that a program executes on a board, counted by qemu: the same figure on a busy machine.

Not cycles: a change of caches, of memory traffic or of the processor's width does not show. What shows is a
copy more, a loop in Python, a kernel that is no longer chosen.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from emulation import debian
from emulation.boards import BOARDS
from emulation.cache import cached
from emulation.userland import Userland

SOURCE = Path(__file__).with_name("count.c")
# One thread, one order of dictionaries, one layout of memory.
CALM = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def counter() -> Path:
    """A folder with a counting qemu. Raises Unavailable where qemu-user or a C compiler is missing."""
    debian.need("gcc")
    qemu = Path("/usr/bin/qemu-aarch64")
    if not qemu.exists() or qemu.is_symlink():
        raise debian.Unavailable("counting instructions needs sudo apt install qemu-user (the dynamic one)")
    version = debian.run(qemu, "--version").splitlines()[0]
    return cached("counter", [1, version, SOURCE.read_text()], lambda work: _build(work, qemu))


def count(
    system: Userland, code: str, arguments: Sequence[str], *, share: Path, board: str
) -> tuple[int, str]:
    """Instructions of ``python3 -c code arguments…`` on ``board``, and what it printed."""
    command = ["/opt/count/qemu-aarch64", "-cpu", BOARDS[board].cpu, "-seed", "42"]
    command += ["-plugin", "/opt/count/libcount.so", "/usr/bin/python3", "-c", code, *arguments]
    done = system.run(command, share=share, board=board, env=CALM, counter=counter())
    found = re.search(r"^instructions (\d+)$", done.stderr, re.MULTILINE)
    if done.returncode or not found:
        raise RuntimeError(f"counting failed ({done.returncode}): {done.stderr[-800:]}")
    return int(found[1]), done.stdout


def _build(work: Path, qemu: Path) -> None:
    shutil.copy(qemu, work / "qemu-aarch64")
    debian.run("gcc", "-shared", "-fPIC", "-O2", "-DPLUGIN_VERSION=1", "-o", work / "libcount.so", SOURCE)
