"""The records database: how it is opened, its tables, and the way from an older version to this one.

``events`` is ordered by identifier, which sorts by time: one B-tree, one page written per event, and
ranges of time are ranges of the key. ``outbox`` names the events that MQTT has still to deliver.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from imago.edge_runtime.errors import StorageError

FILE = "events.sqlite"
APPLICATION_ID = 0x696D6167  # "imag"
BUSY_S = 5.0
WAL_PAGES = 256  # of 4096 bytes, then they are folded into the file: the log stays near 1 MB

# Step n brings a database from version n to n + 1 (PRAGMA user_version). Steps are never changed, only added.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE events (
            id TEXT NOT NULL PRIMARY KEY,
            source TEXT NOT NULL,
            model TEXT NOT NULL,
            start REAL NOT NULL,
            "end" REAL NOT NULL,
            duration_s REAL NOT NULL,
            frames INTEGER NOT NULL,
            label TEXT NOT NULL,
            confidence REAL NOT NULL,
            unknown INTEGER NOT NULL,
            box TEXT,
            top TEXT NOT NULL,
            wrong INTEGER NOT NULL DEFAULT 0,
            correction TEXT
        ) WITHOUT ROWID""",
        "CREATE TABLE outbox (seq INTEGER PRIMARY KEY, event TEXT NOT NULL)",
    ),
)


def open_database(folder: Path, *, create: bool = False, durable: bool = True) -> sqlite3.Connection:
    """A connection for reading and writing, at the newest version; other threads may use it, one at a time.

    create: make folder and database where there are none. durable: a commit is on the disk when it
    returns (FULL); otherwise a power cut may undo the last ones, never damage the file (NORMAL).

    Raises StorageError where there is no database, or one that this version cannot use;
    sqlite3.Error where it cannot be opened or is damaged.
    """
    if create:
        make_folder(folder)
    elif not (folder / FILE).is_file():
        raise no_records(folder)
    database = _connect(folder / FILE, read_only=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        database.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        database.execute(f"PRAGMA journal_size_limit = {WAL_PAGES * 4096}")
        migrate(database, folder)
    except BaseException:
        database.close()
        raise
    return database


def open_for_reading(folder: Path) -> sqlite3.Connection:
    """A connection that cannot write; the camera program may be writing meanwhile.

    Raises StorageError where there is no database that this version can read.
    """
    if not (folder / FILE).is_file():
        raise no_records(folder)
    database: sqlite3.Connection | None = None
    try:
        database = _connect(folder / FILE, read_only=True)
        if _version(database, folder) < len(MIGRATIONS):  # made by an older imago: bring it up to date first
            database.close()
            open_database(folder).close()
            database = _connect(folder / FILE, read_only=True)
    except (sqlite3.Error, StorageError) as error:
        if database is not None:
            database.close()
        if isinstance(error, StorageError):
            raise
        raise unreadable(folder, error) from error
    return database


def migrate(database: sqlite3.Connection, folder: Path, steps: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring ``database`` to version ``len(steps)``, each step whole or not at all."""
    for _ in range(len(steps)):
        if _version(database, folder, len(steps)) == len(steps):
            return
        with transaction(database):  # looks again inside: another program may have been faster
            version = _version(database, folder, len(steps))
            if version < len(steps):
                for statement in steps[version]:
                    database.execute(statement)
                database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                database.execute(f"PRAGMA user_version = {version + 1}")


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All statements of the block, or none."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # a full disk may have ended it already
            database.execute("ROLLBACK")
        raise


def is_damaged(error: sqlite3.Error) -> bool:
    """Whether ``error`` says that the file itself is broken, not that something is in the way."""
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def is_short_of_room(error: sqlite3.Error) -> bool:
    """Whether ``error`` may mean a full disk: opening needs some kilobytes for the log's index."""
    return getattr(error, "sqlite_errorname", "").startswith(
        ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN")
    )


def no_records(folder: Path) -> StorageError:
    """The error for a folder without a database."""
    return StorageError(
        "there are no records in {path}; give the folder that imago run --records wrote", path=folder
    )


def unreadable(folder: Path, error: sqlite3.Error) -> StorageError:
    """The error for a database that cannot be opened, or is damaged."""
    return StorageError(
        "the records in {path} cannot be used ({reason}); copy the folder to a place where you may write "
        "and try there",
        path=folder,
        reason=error,
    )


def unwritable(folder: Path, error: sqlite3.Error | OSError) -> StorageError:
    """The error for a folder that cannot be written to now."""
    reason = (error.strerror if isinstance(error, OSError) else None) or error
    return StorageError(
        "cannot write {path}: {reason}; free some space or choose another place", path=folder, reason=reason
    )


def make_folder(folder: Path) -> None:
    """Make the records' folder where there is none. Raises StorageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    mode = "ro" if read_only else "rwc"
    database = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        database.execute("PRAGMA trusted_schema = OFF")
        database.execute("PRAGMA cache_size = -512")
    except BaseException:
        database.close()
        raise
    return database


def _version(database: sqlite3.Connection, folder: Path, newest: int = len(MIGRATIONS)) -> int:
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    application = int(database.execute("PRAGMA application_id").fetchone()[0])
    foreign = version and application != APPLICATION_ID
    if foreign or (not version and database.execute("SELECT 1 FROM sqlite_master").fetchone()):
        raise StorageError(
            "{path} is a database of another program; choose another folder", path=folder / FILE
        )
    if version > newest:
        raise StorageError(
            "the records in {path} were written by a newer imago (version {found}, here {known}); "
            "update this one",
            path=folder,
            found=version,
            known=newest,
        )
    return version
