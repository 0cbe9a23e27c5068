"""One thing that was asked for and takes a while: its folder on disk, and what is known about it.

job.json    what was asked for and what the studio wants of it (written by the studio)
state.json  how far it is, its result or its failure (written by the worker)
wish        "pause" or "stop", for the worker    log.txt  what it said    .lock  held while it works
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from imago.edge_runtime.errors import StorageError
from imago.edge_runtime.files import write_json
from imago.edge_runtime.messages import tr
from imago.edge_runtime.records.lock import FolderLock

ORDER, STATE, WISH, LOG = "job.json", "state.json", "wish", "log.txt"
Status = Literal["queued", "running", "paused", "stopped", "done", "failed"]
Wish = Literal["pause", "stop"]
LIVE: tuple[Status, ...] = ("queued", "running", "paused")


@dataclass(frozen=True, slots=True)
class Order:
    """kind: a row of ``kinds.KINDS``. title: for people (names, not sentences). lane: jobs of one lane run
    one after the other. status: what the studio decided; "running" means that it was started.
    """

    kind: str
    title: str
    arguments: Mapping[str, Any]
    lane: str = "main"
    status: Status = "queued"
    asked: float = 0.0

    @classmethod
    def read(cls, folder: Path) -> Order:
        """Raises ValueError where the file does not fit."""
        data = json.loads((folder / ORDER).read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise ValueError(ORDER)
        return cls(**data)

    def write(self, folder: Path) -> None:
        """Keep it."""
        write_json(folder / ORDER, asdict(self))


@dataclass(frozen=True, slots=True)
class Report:
    """What the worker says. label, done, total: of the present part (total 0: unknown); rate: steps a second.
    ended: "" while it works, else "done", "failed" or "interrupted". error: a template with its values, so
    that every visitor reads it in their own language; unexpected: it is a fault of imago's.
    """

    label: str = ""
    done: int = 0
    total: int = 0
    rate: float = 0.0
    began: float = 0.0
    seconds: float = 0.0
    ended: str = ""
    error: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    unexpected: bool = False
    result: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Report:
        """The newest report; an empty one where there is none yet."""
        try:
            data = json.loads((folder / STATE).read_text(encoding="utf-8"))
            return cls(**data)
        except (OSError, ValueError, TypeError):
            return cls()

    def write(self, folder: Path) -> None:
        """Keep it."""
        write_json(folder / STATE, asdict(self))


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands."""

    folder: Path
    order: Order
    report: Report = Report()
    status: Status = "queued"

    @property
    def number(self) -> int:
        """Jobs are counted from 1."""
        return int(self.folder.name)

    @property
    def share(self) -> float | None:
        """How much of the present part is done, 0 to 1; None where nobody knows."""
        total = self.report.total
        return min(1.0, self.report.done / total) if total else None

    @property
    def left_s(self) -> float | None:
        """Seconds that the present part will still take at its present rate."""
        r = self.report
        return (r.total - r.done) / r.rate if r.total and r.rate > 0 else None

    @property
    def failure(self) -> str:
        """Why it failed and what to do, in the visitor's language; "" where it did not."""
        if self.status != "failed":
            return ""
        if self.report.ended != "failed":
            return tr(
                "the process ended without a word: most often the computer ran out of memory; close other "
                "programs, choose a smaller batch or picture size, and go on"
            )
        try:
            return tr(self.report.error, **self.report.values)
        except (KeyError, IndexError, ValueError):
            return self.report.error

    def looked_at(self) -> Job:
        """The job as it is now."""
        if self.order.status != "running":
            return replace(self, status=self.order.status)
        report = Report.read(self.folder)
        if at_work(self.folder):
            return replace(self, report=report, status="running")
        ended: dict[str, Status] = {"done": "done", "interrupted": self._interrupted()}
        return replace(self, report=report, status=ended.get(report.ended, "failed"))

    def _interrupted(self) -> Status:
        return "stopped" if wish_of(self.folder) == "stop" else "paused"


def at_work(folder: Path) -> bool:
    """Whether a worker holds the job, also one that an earlier studio started."""
    try:
        FolderLock(folder).release()
    except StorageError:
        return True
    return False


def wish_of(folder: Path) -> str:
    """What the worker was asked to do; "" for nothing."""
    try:
        return (folder / WISH).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
