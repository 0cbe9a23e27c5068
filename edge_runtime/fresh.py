"""Python in a process of its own: for what must be measured from the start, or may die trying."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imago.edge_runtime.errors import ModelError

FATAL = {"SIGILL", "SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE"}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended. code: exit code, minus the signal's number where one killed it, None: too slow."""

    code: int | None
    out: str = ""
    err: str = ""

    @property
    def killed_by(self) -> str:
        """``SIGILL`` …; empty where no signal ended it."""
        if self.code is None or self.code >= 0:
            return ""
        try:
            return signal.Signals(-self.code).name
        except ValueError:
            return f"signal {-self.code}"

    @property
    def last_line(self) -> str:
        """What it said last on standard error, or how it ended: for a person."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        return self.killed_by or (lines[-1].strip() if lines else f"exit code {self.code}")


def same_modules() -> dict[str, str]:
    """The environment in which another Python sees the modules that this process sees (start it with -P)."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folder for folder in sys.path if folder)}


def run_python(
    arguments: Sequence[str],
    *,
    job: Any = None,
    timeout: float | None = None,
    env: Mapping[str, str] | None = None,
) -> Ending:
    """Run this interpreter with ``arguments``, ``job`` as JSON on its standard input.

    It sees the modules that this process sees, and not the folder it is started in. timeout: seconds.
    """
    try:
        done = subprocess.run(  # noqa: S603  this very interpreter
            [sys.executable, "-P", *arguments],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**same_modules(), **(env or {})},
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Ending(None)
    return Ending(done.returncode, done.stdout, done.stderr)


def run_job(module: str, job: Any) -> Any:
    """What ``python -m module`` answers (one JSON value) to ``job``. Raises ModelError where it fails."""
    ending = run_python(["-m", module], job=job)
    if ending.code != 0:
        raise ModelError("the process that measures failed ({reason})", reason=ending.last_line)
    return json.loads(ending.out)
