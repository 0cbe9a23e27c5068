"""The one writer of a records folder: an event is on the disk when ``add`` returns.

Order of things: the crop goes to a waiting place and is forced to disk; one transaction holds the event
(and its place in the MQTT outbox) and is forced to disk; the crop is renamed to its place. Whatever is cut
short between, the next start completes or removes: never an event whose crop is half there, nor a crop
without event.
"""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import time
from pathlib import Path

from imago.edge_runtime.events import Event
from imago.edge_runtime.records.crops import CropFolder, day_of
from imago.edge_runtime.records.lock import FolderLock
from imago.edge_runtime.records.options import RecordOptions
from imago.edge_runtime.records.query import COLUMNS, text
from imago.edge_runtime.records.schema import (
    FILE,
    is_damaged,
    is_short_of_room,
    make_folder,
    open_database,
    transaction,
    unreadable,
    unwritable,
)

ROOM = 2**20  # bytes of crops given up when the database does not fit the disk any more
INSERT = f"INSERT OR IGNORE INTO events ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,0,NULL)"  # noqa: S608


class Store:
    """Opened for one process at a time; not for several threads at once.

    outbox: also put every event in line for MQTT. ``set_aside`` is where a damaged database went, if
    one was found: it is kept for repair, and recording goes on in a new one.

    Raises StorageError where the folder cannot be used.
    """

    def __init__(self, folder: Path, options: RecordOptions | None = None, *, outbox: bool = False) -> None:
        self.folder, self._outbox = folder, outbox
        self.set_aside: Path | None = None
        make_folder(folder)
        self._lock = FolderLock(folder)
        try:
            self.crops = CropFolder(folder, options or RecordOptions())
            self._database = self._open()
            self.crops.recover(self._known)
        except BaseException:
            self._lock.release()
            raise

    def add(self, event: Event) -> None:
        """Keep one event; adding it again changes nothing.

        Raises StorageError where it cannot be kept now (the disk is full, say): nothing of it is kept then.
        """
        day_of(event.id)
        cropped = event.crop is not None and self.crops.prepare(event.id, event.crop)
        try:
            self._insert(event)
        except sqlite3.Error as error:
            self._mend(error)
            try:
                self._insert(event)
            except sqlite3.Error as again:
                raise unwritable(self.folder, again) from again
        if cropped:
            self.crops.publish(event.id)

    def close(self) -> None:
        """Finish; harmless when called twice."""
        with contextlib.suppress(sqlite3.Error):
            self._database.close()
        self._lock.release()

    def _mend(self, error: sqlite3.Error) -> None:
        """Do what can be done about a write that failed."""
        if is_damaged(error):
            self._start_anew()
            return
        self.crops.make_room(ROOM)
        with contextlib.suppress(sqlite3.Error):
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # gives the log's space back

    def _insert(self, event: Event) -> None:
        with transaction(self._database):
            added = self._database.execute(INSERT, _row(event)).rowcount
            if added and self._outbox:
                self._database.execute("INSERT INTO outbox (event) VALUES (?)", (event.id,))

    def _known(self, identifier: str) -> bool:
        try:
            found = self._database.execute("SELECT 1 FROM events WHERE id = ?", (identifier,)).fetchone()
        except sqlite3.Error:  # damaged there: the next write will tell; a crop too many does no harm
            return True
        return found is not None

    def _open(self) -> sqlite3.Connection:
        try:
            return open_database(self.folder, create=True)
        except sqlite3.Error as error:
            if is_damaged(error):
                self._move_aside()
            elif not (is_short_of_room(error) and self.crops.make_room(ROOM)):
                raise unreadable(self.folder, error) from error
        try:
            return open_database(self.folder, create=True)
        except sqlite3.Error as error:
            raise unreadable(self.folder, error) from error

    def _start_anew(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._database.close()
        self._move_aside()
        self._database = self._open()

    def _move_aside(self) -> None:
        """Rename a damaged database and its log; a camera in the field must go on recording."""
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self.set_aside = self.folder / f"{FILE}.damaged-{stamp}"
        try:
            for suffix in ("-wal", "-shm", ""):
                part = self.folder / f"{FILE}{suffix}"
                if part.exists():
                    part.replace(f"{self.set_aside}{suffix}")
        except OSError as error:
            raise unwritable(self.folder, error) from error


def _row(event: Event) -> tuple[object, ...]:
    top = [[text(s.label), s.index, round(_finite(s.confidence), 6)] for s in event.top]
    return (
        event.id,
        text(event.source),
        text(event.model),
        _finite(event.start),
        _finite(event.end),
        _finite(event.duration_s),
        event.frames,
        text(event.label),
        _finite(event.confidence),
        event.unknown,
        None if event.box is None else json.dumps(event.box, separators=(",", ":")),
        json.dumps(top, ensure_ascii=False, separators=(",", ":")),
    )


def _finite(value: float) -> float:
    """A model may answer "not a number"; SQLite would refuse the whole event for it."""
    return float(value) if math.isfinite(value) else 0.0
