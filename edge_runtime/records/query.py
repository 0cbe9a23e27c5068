"""Reading records: which events, with their marks and crops, and what people say about them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import InputError, StorageError
from imago.edge_runtime.events import Event
from imago.edge_runtime.records.crops import crop_path, day_of, time_prefix
from imago.edge_runtime.records.schema import open_database, transaction, unreadable
from imago.edge_runtime.types import Score

MAX_LABEL = 200
MAX_CHOICES = 500
COLUMNS = (
    'id, source, model, start, "end", duration_s, frames, '
    "label, confidence, unknown, box, top, wrong, correction"
)
SAID = "COALESCE(correction, CASE WHEN unknown THEN NULL ELSE label END)"


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events.

    ids: just these (empty: all). since, until: Unix time of their start, until excluded. labels: what was
    said, or what a person said instead. unknown, wrong: None: either. before: only events older than this
    identifier. limit: the newest so many. newest_first: order of the answer.
    """

    ids: tuple[str, ...] = ()
    since: float | None = None
    until: float | None = None
    labels: tuple[str, ...] = ()
    unknown: bool | None = None
    wrong: bool | None = None
    min_confidence: float = 0.0
    before: str | None = None
    limit: int | None = None
    newest_first: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.min_confidence <= 1:
            raise InputError(
                "a confidence of {value} is not possible; expected 0 to 1", value=self.min_confidence
            )
        if self.limit is not None and not 0 < self.limit < 2**31:
            raise InputError(
                "{name} {value} is not usable; expected a number above 0", name="--limit", value=self.limit
            )
        if len(self.labels) + len(self.ids) > MAX_CHOICES:
            raise InputError(
                "{n} choices are too many; expected at most {limit}", n=len(self.labels), limit=MAX_CHOICES
            )
        if self.before is not None:
            day_of(self.before)
        for moment in (self.since, self.until):
            if moment is not None and not abs(moment) < 1e12:
                raise InputError("{value} is no moment; expected seconds of Unix time", value=moment)


@dataclass(frozen=True, slots=True)
class Record:
    """One event as it was kept. wrong: a person said so. correction: what it was instead, where they said.
    crop: its picture, None where there is none (any more).
    """

    event: Event
    wrong: bool
    correction: str | None
    crop: Path | None

    @property
    def name(self) -> str | None:
        """What it is believed to be: a person's word first; None where it is unknown or wrong."""
        if self.correction is not None or self.wrong or self.event.unknown:
            return self.correction
        return self.event.label

    def to_dict(self) -> dict[str, Any]:
        """JSON form: the event's, ``wrong``, ``correction`` and ``crop`` (a path relative to the folder)."""
        crop = None if self.crop is None else "/".join(self.crop.parts[-3:])
        return {**self.event.to_dict(), "wrong": self.wrong, "correction": self.correction, "crop": crop}


def read_events(database: sqlite3.Connection, folder: Path, query: EventQuery) -> Iterator[Record]:
    """Events that ``query`` asks for. Raises StorageError where the database is damaged."""
    where, values = _where(query)
    order = "DESC" if query.newest_first or query.limit else "ASC"
    text = f"SELECT {COLUMNS} FROM events WHERE {where} ORDER BY id {order} LIMIT {query.limit or -1}"  # noqa: S608  constants
    if query.limit and not query.newest_first:
        text = f"SELECT * FROM ({text}) ORDER BY id"  # noqa: S608
    try:
        for row in database.execute(text, values):
            yield _record(folder, row)
    except (sqlite3.Error, ValueError, TypeError, KeyError, IndexError) as error:
        raise _damaged(folder, error) from error


def mark(folder: Path, identifier: str, *, wrong: bool, correction: str | None = None) -> None:
    """Say that an event was named wrongly (and what it was), or, with ``wrong=False``, take that back.

    Raises InputError where there is no such event, StorageError where it cannot be written.
    """
    day_of(identifier)
    if correction is not None and not 0 < len(correction.strip()) <= MAX_LABEL:
        raise InputError("a label has 1 to {limit} characters", limit=MAX_LABEL)
    try:
        database = open_database(folder)
        try:
            with transaction(database):
                changed = database.execute(
                    "UPDATE events SET wrong = ?, correction = ? WHERE id = ?",
                    (wrong, text(correction.strip()) if wrong and correction else None, identifier),
                ).rowcount
        finally:
            database.close()
    except sqlite3.Error as error:
        raise unreadable(folder, error) from error
    if not changed:
        raise InputError("there is no event {id} in {path}", id=identifier, path=folder)


def text(value: str) -> str:
    """``value`` without what UTF-8 cannot hold (half characters, which JSON lets through)."""
    return value.encode("utf-8", "replace").decode("utf-8")


def _where(query: EventQuery) -> tuple[str, list[object]]:
    parts: list[tuple[str, object]] = []
    if query.since is not None:
        parts.append(("id >= ?", time_prefix(query.since)))
    if query.until is not None:
        parts.append(("id < ?", time_prefix(query.until)))
    if query.before is not None:
        parts.append(("id < ?", query.before))
    if query.unknown is not None:
        parts.append(("unknown = ?", query.unknown))
    if query.wrong is not None:
        parts.append(("wrong = ?", query.wrong))
    if query.min_confidence:
        parts.append(("confidence >= ?", query.min_confidence))
    said = "label" if query.unknown else SAID
    where = " AND ".join(
        [*(clause for clause, _ in parts), _among("id", query.ids), _among(said, query.labels)]
    )
    return where, [*(value for _, value in parts), *query.ids, *map(text, query.labels)]


def _among(column: str, choices: tuple[str, ...]) -> str:
    return f"{column} IN ({','.join('?' * len(choices))})" if choices else "1"


def _record(folder: Path, row: tuple[Any, ...]) -> Record:
    identifier, source, model, start, end, duration, frames, _, _, unknown, box, top, wrong, correction = row
    event = Event(
        id=identifier,
        source=source,
        model=model,
        start=start,
        end=end,
        duration_s=duration,
        frames=frames,
        top=tuple(Score(label, index, confidence) for label, index, confidence in json.loads(top)),
        unknown=bool(unknown),
        box=None if box is None else tuple(json.loads(box)),
    )
    crop = crop_path(folder, identifier)
    return Record(event, bool(wrong), correction, crop if crop.is_file() else None)


def _damaged(folder: Path, error: Exception) -> StorageError:
    return unreadable(folder, sqlite3.DatabaseError(str(error) or type(error).__name__))
