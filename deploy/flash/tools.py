"""The two tools that read and write file systems inside an image, without mounting and without root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from imago.edge_runtime.errors import InputError, MissingDependency

PACKAGE_OF = {"mcopy": "mtools", "mtype": "mtools", "mmd": "mtools", "debugfs": "e2fsprogs"}
PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))  # debugfs is root's
TIMEOUT = 600.0


def need_tools() -> None:
    """Raise MissingDependency with one line to type where a tool is missing."""
    packages = sorted({PACKAGE_OF[name] for name in PACKAGE_OF if shutil.which(name, path=PATH) is None})
    if packages:
        raise MissingDependency(
            "imago flash needs {packages}: sudo apt install {packages}", packages=" ".join(packages)
        )


def run_tool(
    command: Sequence[str], content: bytes = b"", *, folder: Path, missing: bytes = b""
) -> bytes | None:
    """What a tool prints; ``content`` is its standard input. None where it says ``missing``.

    folder: where it runs; images are named without their folder, since both tools have a syntax of their own
    for what may stand in a path (``@@``, ``?``).

    Raises InputError where it fails: these tools fail where the file system is damaged or full.
    """
    done = subprocess.run(  # noqa: S603  a fixed program, arguments as a list
        command,
        cwd=folder,
        input=content,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
        env={"PATH": PATH, "LC_ALL": "C.UTF-8", "MTOOLS_SKIP_CHECK": "1", "MTOOLSRC": os.devnull},
    )
    if missing and missing in done.stderr:
        return None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise InputError(
            "the image's file system cannot be used ({tool}: {reason}); download the image again",
            tool=command[0],
            reason=said[-1] if said else done.returncode,
        )
    return done.stdout
