"""Events that the broker has not confirmed yet: written with the event itself, deleted when delivered."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from imago.edge_runtime.records.query import EventQuery, Record, read_events
from imago.edge_runtime.records.schema import open_database, transaction, unreadable

BATCH = 50


class Outbox:
    """The line of events of one records folder; used by one thread.

    Raises StorageError where the database cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Delivered, but still in the table because the disk is full: not to be sent again meanwhile.
        self._delivered = 0

    def waiting(self) -> int:
        """How many events wait."""
        with self._open() as database:
            row = database.execute("SELECT count(*) FROM outbox WHERE seq > ?", (self._delivered,)).fetchone()
        return int(row[0])

    def next(self) -> list[tuple[int, Record | None]]:
        """The oldest waiting events with their places in the line (None: gone from the records)."""
        with self._open() as database:
            newest = database.execute("SELECT max(seq) FROM outbox").fetchone()[0] or 0
            if newest < self._delivered:  # a new database: numbers begin again
                self._delivered = 0
            rows = database.execute(
                "SELECT seq, event FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?", (self._delivered, BATCH)
            ).fetchall()
            return [(seq, self._record(database, event)) for seq, event in rows]

    def done(self, seq: int) -> None:
        """All up to place ``seq`` are delivered."""
        self._delivered = seq
        with self._open() as database, transaction(database):
            database.execute("DELETE FROM outbox WHERE seq <= ?", (seq,))
        self._delivered = 0

    def _record(self, database: sqlite3.Connection, event: str) -> Record | None:
        return next(read_events(database, self._folder, EventQuery(ids=(event,))), None)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one errand: a damaged database is replaced under our feet.

        Deletions need not survive a power cut: they would be delivered again, as promised.
        """
        try:
            with closing(open_database(self._folder, durable=False)) as database:
                yield database
        except sqlite3.Error as error:
            raise unreadable(self._folder, error) from error
