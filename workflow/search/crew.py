"""The worker processes on this machine: started, watched, started again, and stopped with nothing lost.

A worker's standard input is its lifeline: when it closes, because it is told to stop or because the process
that holds it was killed, the worker saves its training, puts its trial back and ends.
"""

from __future__ import annotations

import _thread
import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.fresh import same_modules

LOGS = "workers"
STOP_S = 30.0  # a step of a large network, its checkpoint, and the storage
MOST_RESTARTS = 2


class Crew:
    """``command(k)``: how worker ``k`` is called. lost(k): called after one died, before it is replaced."""

    def __init__(
        self, command: Callable[[int], Sequence[str]], count: int, folder: Path, lost: Callable[[int], None]
    ) -> None:
        self.command, self.folder, self.lost = command, folder, lost
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._restarts = 0
        for number in range(count):
            self._start(number)

    def alive(self) -> int:
        """How many work; one that died is replaced. Raises InputError where they keep dying."""
        for number, process in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            _close(process.stdin)
            del self._running[number]
            self.lost(number)
            if code:
                self._replace(number)
        return len(self._running)

    def stop(self) -> None:
        """Let all save their work and end; those that do not are ended."""
        for process in self._running.values():
            _close(process.stdin)
        for number, process in list(self._running.items()):
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            del self._running[number]
            self.lost(number)

    def _start(self, number: int) -> None:
        log = self.folder / LOGS / f"{number}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._running[number] = subprocess.Popen(  # noqa: S603 - our own command line, no shell
                list(self.command(number)),
                env=same_modules(),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=os.name == "posix",  # Ctrl-C is for the leader, who tells the others
            )

    def _replace(self, number: int) -> None:
        self._restarts += 1
        if self._restarts > MOST_RESTARTS * max(1, len(self._running) + 1):
            log = self.folder / LOGS / f"{number}.log"
            raise InputError(
                "the workers of the search keep dying; the last words of {log}: {line}",
                log=log,
                line=last_line(log),
            )
        self._start(number)


def last_line(log: Path) -> str:
    """The last line that says something."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "–")


def stop_with_parent() -> None:
    """In a worker: behave as if Ctrl-C was pressed once standard input closes."""

    def wait() -> None:
        while os.read(0, 1):  # not sys.stdin: a thread waiting in its buffer breaks the interpreter's end
            pass
        _thread.interrupt_main()

    threading.Thread(target=wait, daemon=True).start()


def _close(stream: IO[bytes] | None) -> None:
    if stream is not None:
        try:
            stream.close()
        except OSError:  # it is gone already
            return
