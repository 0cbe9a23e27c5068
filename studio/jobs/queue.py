"""Jobs one after the other: started, paused, stopped and found again after a restart of the studio."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.files import write_text
from imago.edge_runtime.messages import language
from imago.studio.jobs.job import LIVE, LOG, STATE, WISH, Job, Order, Report, Status, Wish, wish_of

KEPT = 200  # finished jobs whose folders stay
CLOSING, CLOSING_S = "close", 20.0


class Queue:
    """The jobs of a workspace. Not thread-safe: called from the studio's event loop alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._jobs: dict[int, Job] = {}
        self.version = 0
        for place in sorted(folder.iterdir(), key=lambda path: path.name):
            with contextlib.suppress(OSError, ValueError, TypeError):
                job = Job(place, Order.read(place)).looked_at()
                self._jobs[job.number] = job
                if job.status == "failed" and not job.report.ended:  # the whole computer went down
                    self._decide(job, "paused")
        self._forget_old()

    def jobs(self) -> list[Job]:
        """All jobs, the newest first."""
        return [self._jobs[number] for number in sorted(self._jobs, reverse=True)]

    def get(self, number: int) -> Job | None:
        """One job, if it exists."""
        return self._jobs.get(number)

    def find(self, kind: str, **arguments: object) -> Job | None:
        """The newest job of a kind with these arguments among its own."""
        for job in self.jobs():
            if job.order.kind == kind and all(job.order.arguments.get(k) == v for k, v in arguments.items()):
                return job
        return None

    def live(self) -> list[Job]:
        """What runs, waits or is paused, in the order in which it was asked for."""
        return [job for job in reversed(self.jobs()) if job.status in LIVE]

    def add(self, kind: str, title: str, arguments: Mapping[str, Any], *, lane: str = "main") -> Job:
        """Ask for something; it starts when its lane is free."""
        taken = (int(place.name) for place in self._folder.iterdir() if place.name.isdecimal())
        number = max(taken, default=0) + 1
        folder = self._folder / f"{number:05}"
        folder.mkdir()
        order = Order(kind, title, arguments, lane, asked=time.time())
        order.write(folder)
        job = Job(folder, order)
        self._jobs[number] = job
        self.turn()
        return self._jobs[number]

    def wish(self, number: int, wish: Wish) -> None:
        """Pause or stop: what runs saves its state first; what waits is taken out of the queue."""
        job = self._jobs[number]
        if job.status == "running":
            write_text(job.folder / WISH, wish)
        elif job.status in LIVE:
            self._decide(job, "paused" if wish == "pause" else "stopped")
        self.version += 1

    def resume(self, number: int) -> None:
        """Go on with a paused, stopped or failed job: a paused one keeps its turn."""
        job = self._jobs[number]
        if job.status in ("running", "done"):
            raise InputError("job {number} is {status}; nothing to resume", number=number, status=job.status)
        for name in (WISH, STATE):
            (job.folder / name).unlink(missing_ok=True)
        self._decide(job, "queued")
        self.turn()

    def turn(self) -> None:
        """See how all jobs are, and start what is next."""
        for number, job in list(self._jobs.items()):
            process = self._processes.get(number)
            if process is not None and process.poll() is None and job.status == "running":
                seen = replace(job, report=_newest(job))
            elif job.status == "running" or (job.status in LIVE and job.order.status == "running"):
                self._processes.pop(number, None)
                seen = job.looked_at()
            else:
                continue
            if seen != job:
                self._jobs[number] = seen
                self.version += 1
            if seen.status == "paused" and wish_of(seen.folder) == CLOSING:
                self._decide(seen, "queued")  # the last studio interrupted it when it ended
        self._start_next()

    def close(self) -> None:
        """The studio ends: what runs saves its state, and goes on when the studio is started again."""
        running = [job for job in self._jobs.values() if job.status == "running"]
        for job in running:
            if not wish_of(job.folder):
                write_text(job.folder / WISH, CLOSING)
        deadline = time.monotonic() + CLOSING_S
        while running and time.monotonic() < deadline:
            self._reap()
            running = [job for job in running if job.looked_at().status == "running"]
            time.sleep(0.05)
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))

    def _reap(self) -> None:
        for process in self._processes.values():
            process.poll()

    def _start_next(self) -> None:
        for job in self.live():
            ahead = [o for o in self.live() if o.order.lane == job.order.lane and o.number < job.number]
            if job.status == "queued" and not ahead:
                self._start(job)

    def _start(self, job: Job) -> None:
        for name in (WISH, STATE):
            (job.folder / name).unlink(missing_ok=True)
        order = replace(job.order, status="running")
        order.write(job.folder)
        job = replace(job, order=order, status="running")
        self._jobs[job.number] = job
        self.version += 1
        with (job.folder / LOG).open("ab") as log:
            self._processes[job.number] = subprocess.Popen(  # noqa: S603 - this very program
                [sys.executable, "-P", "-m", "imago.studio.jobs.worker", str(job.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=job.folder,
                env=_environment(),
                **_alone(),
            )

    def _decide(self, job: Job, status: Status) -> None:
        order = replace(job.order, status=status)
        order.write(job.folder)
        self._jobs[job.number] = replace(job, order=order, status=status)
        self.version += 1

    def _forget_old(self) -> None:
        over = [job for job in self.jobs() if job.status not in LIVE][KEPT:]
        for job in over:
            del self._jobs[job.number]
            shutil.rmtree(job.folder, ignore_errors=True)


def _newest(job: Job) -> Report:
    fresh = Report.read(job.folder)
    return fresh if fresh.began else job.report


def _environment() -> dict[str, str]:
    """Ours, in the visitor's language; relative search paths still mean what they mean here."""
    path = [str(Path(part).absolute()) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    more = {"PYTHONPATH": os.pathsep.join(path)} if path else {}
    return {**os.environ, **more, "IMAGO_LANG": language(), "PYTHONUNBUFFERED": "1"}


def _alone() -> dict[str, Any]:
    """A process that Ctrl-C in the studio's terminal does not reach."""
    if sys.platform == "win32":
        below = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.BELOW_NORMAL_PRIORITY_CLASS
        return {"creationflags": below | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}
