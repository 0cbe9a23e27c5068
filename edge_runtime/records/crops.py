"""Pictures of events on disk: ``crops/2026-11-24/<id>.jpg``, within a quota, the oldest going first.

The files themselves are the only account of what is there: evicting one writes nothing to the database,
and whether an event has a crop is asked of the disk. A crop waits in ``crops/.new`` until its event is
committed: what a kill or a power cut leaves is found there, and finished crops are never in doubt.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.imageio import encode_jpeg
from imago.edge_runtime.records.options import MB, RecordOptions
from imago.edge_runtime.types import Frame

FOLDER = "crops"
ID = re.compile(r"[0-9a-f]{20}")
DAY = re.compile(r"\d{4}-\d\d-\d\d")
NEW = ".new"
NAME = re.compile(r"[0-9a-f]{20}\.jpg")
EPOCH = datetime(1970, 1, 1)  # UTC throughout, without the cost of saying so
DAY_MS = 24 * 3600 * 1000
LAST_DAY = (datetime.max - EPOCH).days
SLACK = 0.98  # evict a little more than needed: a few files at a time, not one for every new one


def time_prefix(seconds: float) -> str:
    """The first 12 digits of the identifier of an event that began then (see ``events.event_id``)."""
    return f"{min(max(0, int(seconds * 1000)), 0xFFFFFFFFFFFF):012x}"


def day_of(identifier: str) -> str:
    """The day (UTC) of an event, ``2026-11-24``. Raises InputError where that is no event's identifier."""
    if not ID.fullmatch(identifier):
        raise InputError(
            "'{id}' is no event's identifier; imago events FOLDER lists them", id=identifier[:40]
        )
    days = min(int(identifier[:12], 16) // DAY_MS, LAST_DAY)
    return (EPOCH + timedelta(days=days)).strftime("%Y-%m-%d")


def crop_path(folder: Path, identifier: str) -> Path:
    """Where the crop of an event is, if it is still there. Raises InputError as ``day_of``."""
    return folder / FOLDER / day_of(identifier) / f"{identifier}.jpg"


class CropFolder:
    """The crops of one records folder; used by its one writer."""

    def __init__(self, folder: Path, options: RecordOptions) -> None:
        self._folder, self._options = folder, options
        self._new = folder / FOLDER / NEW
        self.bytes = sum(map(_size, self._entries()))
        self.skipped = self.evicted = 0
        self._credit = self._hourly = options.crops_mb_per_hour * MB
        self._credited = time.monotonic()

    def prepare(self, identifier: str, frame: Frame) -> bool:
        """Put ``frame`` on the disk, to be published with its event; False: quota, wear or space forbid."""
        place = self._new / f"{identifier}.jpg"
        if place.exists() or crop_path(self._folder, identifier).exists():  # the event is tried again
            return True
        try:
            data = encode_jpeg(frame, quality=self._options.quality, max_side=self._options.max_side)
            if not self._may_write(len(data)):
                raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
            _write_through(place, data)
        except (OSError, ValueError):  # never worth an event
            self.skipped += 1
            return False
        self.bytes += len(data)
        self._credit -= len(data)
        return True

    def publish(self, identifier: str) -> None:
        """Its event is committed: the crop takes its place."""
        place = crop_path(self._folder, identifier)
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            (self._new / place.name).replace(place)

    def make_room(self, size: int) -> bool:
        """Give up the oldest crops, ``size`` bytes of them; False: there were none."""
        return self._evict(self.bytes - size) > 0

    def recover(self, known: Callable[[str], bool]) -> None:
        """Publish what waits with its event committed (``known``), delete the rest of what waits."""
        with contextlib.suppress(OSError), os.scandir(self._new) as listing:
            for entry in list(listing):
                identifier = entry.name.removesuffix(".jpg")
                if ID.fullmatch(identifier) and known(identifier):
                    self.publish(identifier)
                else:
                    Path(entry.path).unlink(missing_ok=True)

    def _may_write(self, size: int) -> bool:
        now = time.monotonic()
        self._credit = min(self._hourly, self._credit + self._hourly * (now - self._credited) / 3600)
        self._credited = now
        quota = self._options.quota_mb * MB
        if size > self._credit or size > quota:
            return False
        if self.bytes + size > quota:
            self._evict(min(quota - size, SLACK * quota))
        if self._free() - size < self._options.reserve_mb * MB:  # no growth; nor room made for others to fill
            return self.make_room(size) and self._free() >= size
        return True

    def _free(self) -> int:
        try:
            return disk_free(self._folder)
        except OSError:
            return 0

    def _evict(self, target: float) -> int:
        """Delete the oldest crops until the rest takes at most ``target`` bytes; returns how many went."""
        gone = 0
        for entry in self._entries():
            if self.bytes <= target:
                break
            gone += self._remove(entry)
        self.evicted += gone
        return gone

    def _remove(self, entry: os.DirEntry[str]) -> bool:
        size = _size(entry)
        try:
            Path(entry.path).unlink()
        except OSError:
            return False
        self.bytes -= size
        with contextlib.suppress(OSError):
            Path(entry.path).parent.rmdir()  # succeeds once the day is empty
        return True

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        """All crops, oldest first."""
        for day in self._days():
            yield from _files(day)

    def _days(self) -> list[Path]:
        with contextlib.suppress(OSError), os.scandir(self._folder / FOLDER) as listing:
            return sorted(Path(entry.path) for entry in listing if DAY.fullmatch(entry.name))
        return []


def _write_through(place: Path, data: bytes) -> None:
    """Under its name from the start: one sync makes bytes and name certain before the event is committed.

    A renaming after the sync could be lost while the event survives. ``recover`` deletes what was cut off.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with place.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        place.unlink(missing_ok=True)
        raise


def disk_free(folder: Path) -> int:
    """Bytes that may still be written there."""
    if sys.platform == "win32":
        import shutil

        return shutil.disk_usage(folder).free
    else:  # mypy knows platforms by their branches
        facts = os.statvfs(folder)  # without shutil, which brings compression libraries along
        return facts.f_bavail * facts.f_frsize


def _files(day: Path) -> list[os.DirEntry[str]]:
    """Our own files of one day, by name, which is by time; what others put there stays."""
    with contextlib.suppress(OSError), os.scandir(day) as listing:
        return sorted((e for e in listing if NAME.fullmatch(e.name)), key=lambda entry: entry.name)
    return []


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except OSError:  # somebody removed it meanwhile
        return 0
