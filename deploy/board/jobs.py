"""Work that goes on when the connection breaks: a process of its own, whose words the caller reads along."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from imago.deploy.board.say import failure
from imago.edge_runtime.errors import DeployError, ImagoError


def detached(folder: Path, work: Callable[[], int]) -> int:
    """Run ``work`` in a child of its own session, and pass on what it says; its exit code.

    When this process ends early (the line was cut), the child does not notice. folder: for its words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("job-*.jsonl"))[:-5]:
        old.unlink(missing_ok=True)
    path = folder / f"job-{time.time_ns()}.jsonl"
    path.touch(mode=0o600)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os._exit(_alone(path, work))
    with path.open(encoding="ascii") as words:
        while True:
            ended, code = os.waitpid(child, os.WNOHANG)
            text = words.read()
            if text:
                sys.stdout.write(text)
                sys.stdout.flush()
            if ended:
                return os.waitstatus_to_exitcode(code)
            time.sleep(0.05)


def _alone(path: Path, work: Callable[[], int]) -> int:
    os.setsid()
    null, out = os.open(os.devnull, os.O_RDWR), os.open(path, os.O_WRONLY | os.O_APPEND)
    for number, handle in ((0, null), (1, out), (2, out)):
        os.dup2(handle, number)
    return guarded(work)


def guarded(work: Callable[[], int]) -> int:
    """Run ``work``; whatever goes wrong becomes one line. Returns the exit code."""
    try:
        code = work()
    except ImagoError as error:
        failure(error)
        code = error.exit_code
    except OSError as error:
        failure(DeployError("the board says: {reason}", reason=error))
        code = 2
    except Exception as error:  # noqa: BLE001  the other end cannot see a traceback
        failure(DeployError("the board's agent failed: {reason}", reason=f"{type(error).__name__}: {error}"))
        code = 2
    sys.stdout.flush()
    return code
