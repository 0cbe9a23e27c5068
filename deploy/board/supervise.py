"""A small supervisor for systems without systemd: one process that keeps one process running.

SIGHUP: start the current release anew. SIGTERM: end both. A program that ends is started again, after 1 s,
then 2 s and so on to 30 s when it keeps ending early. Its output goes to ``run/service.log``, of which two
times 1 MB are kept.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import subprocess
import time
from types import FrameType
from typing import Any

from imago.deploy.board import process, runner
from imago.deploy.board.layout import Root, read_json, write_state
from imago.deploy.board.service import LOG_BYTES
from imago.edge_runtime.errors import ImagoError

STOP_S, EARLY_S, LONGEST_S = 10.0, 10.0, 30.0


class Supervisor:
    """settle: called before every start; takes an unchecked release back when nobody is checking it."""

    def __init__(self, root: Root, settle: Any) -> None:
        self._root, self._settle = root, settle
        self._child: subprocess.Popen[bytes] | None = None
        self._starts = int(time.time())  # grows over the supervisor's own restarts, too
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_w, False)
        self._wishes: list[int] = []

    def run(self) -> int:
        """Until SIGTERM."""
        lock = (self._root / "run" / "supervisor.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another one is at work
            lock.close()
            return 0
        self._end_orphan()
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, self._on_signal)
        signal.set_wakeup_fd(self._wake_w, warn_on_full_buffer=False)
        write_state(self._root / "run" / "supervisor.json", process.me())
        wait, began = 1.0, 0.0
        while True:
            if self._child is None:
                began = time.monotonic()
                self._start()
            self._attend(None)
            if signal.SIGTERM in self._wishes or signal.SIGINT in self._wishes:
                self._stop()
                (self._root / "run" / "supervisor.json").unlink(missing_ok=True)
                return 0
            if signal.SIGHUP in self._wishes:
                self._wishes.clear()
                self._stop()
                wait = 1.0
            elif self._child is None or self._child.poll() is not None:
                self._child = None
                wait = min(LONGEST_S, 2 * wait) if time.monotonic() - began < EARLY_S else 1.0
                self._pause(wait)

    def _start(self) -> None:
        self._settle()
        self._starts += 1
        log = self._root / "run" / "service.log"
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as out:
            out.write(f"--- {time.time():.3f} started {self._root.current}\n".encode())
            out.flush()
            try:
                words = runner.command(self._root)
                self._child = subprocess.Popen(  # noqa: S603  argument list, no shell
                    words, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                    cwd=self._root / "state", env=runner.environment(), start_new_session=True,
                )  # fmt: skip
            except (ImagoError, OSError) as error:
                out.write(f"imago: {error}\n".encode())
                self._child = None
        facts = process.facts(self._child.pid) if self._child else {"pid": os.getpid()}
        write_state(
            self._root / "run" / "service.json",
            {**facts, "starts": self._starts, "release": self._root.current},
        )

    def _end_orphan(self) -> None:
        """A supervisor that was killed may have left its program behind."""
        known = read_json(self._root / "run" / "service.json") or {}
        if known.get("pid") == os.getpid() or not process.alive(known):
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(known["pid"], signal.SIGTERM)
            for _ in range(int(STOP_S / 0.05)):
                if not process.alive(known):
                    return
                time.sleep(0.05)
            os.kill(known["pid"], signal.SIGKILL)

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None or child.poll() is not None:
            return
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._wishes and (left := until - time.monotonic()) > 0:
            self._attend(left)

    def _attend(self, timeout: float | None) -> None:
        """Wait for a signal."""
        if self._wishes or (timeout is None and (self._child is None or self._child.poll() is not None)):
            return
        with selectors.DefaultSelector() as chooser:
            chooser.register(self._wake_r, selectors.EVENT_READ)
            if chooser.select(timeout):
                os.read(self._wake_r, 4096)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._wishes.append(number)
