"""The user's own pip as a subprocess: resolving and fetching wheels for another system."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence

from imago.edge_runtime.errors import MissingDependency, StorageError

Tell = Callable[[str], None]
PIP = (sys.executable, "-m", "pip")
QUIET = ("--disable-pip-version-check", "--no-input", "--progress-bar", "off")
NO_WHEEL = re.compile(r"No matching distribution found for (\S+)")
NETWORK = re.compile(
    r"NewConnectionError|Failed to establish|name resolution|getaddrinfo|ConnectTimeout|timed out"
    r"|Connection (?:refused|reset|broken)|ProxyError|Network is unreachable|SSLError",
)
FULL = re.compile(r"No space left on device|Errno 28\b|not enough space", re.IGNORECASE)


def need_pip() -> None:
    """Raise MissingDependency where this Python has no pip."""
    done = subprocess.run([*PIP, "--version"], capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        raise MissingDependency(
            "a kit is made with pip, which this Python lacks: {python} -m ensurepip, or apt install "
            "python3-pip",
            python=sys.executable,
        )


def pip(command: str, arguments: Sequence[str], tell: Tell, *, what: str) -> None:
    """Run ``pip COMMAND …``; its lines go to ``tell``. what: which system, for people.

    Raises StorageError, which says whether the network, a wheel or the disk is the reason.
    """
    lines: list[str] = []
    with subprocess.Popen(  # noqa: S603  our own arguments
        [*PIP, command, *QUIET, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    ) as process:
        try:
            for line in process.stdout or ():
                lines.append(line.strip())
                tell(lines[-1])
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise failure(lines, what)


def failure(lines: Sequence[str], what: str) -> StorageError:
    """Why pip failed, from what it said."""
    text = "\n".join(lines)
    if FULL.search(text):
        return StorageError("the disk is full; free some space, and the same command goes on from here")
    if NETWORK.search(text):
        return StorageError(
            "the package index cannot be reached; a kit is made once with internet, and then installs "
            "without: connect this computer, and the same command goes on from here"
        )
    found = NO_WHEEL.search(text)
    if found:
        return StorageError(
            "there is no wheel of {package} for {what}; choose another engine, camera or system, or look "
            "whether a newer imago asks for a newer one",
            package=found[1],
            what=what,
        )
    errors = [line for line in lines if line.startswith("ERROR")] or list(lines[-1:]) or ["?"]
    return StorageError("pip failed: {reason}", reason=errors[-1].removeprefix("ERROR: ")[:300])
