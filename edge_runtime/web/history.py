"""The page's list of events: from the records folder, or, without one, the newest few in memory."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.events import Event
from imago.edge_runtime.imageio import encode_jpeg
from imago.edge_runtime.records.crops import crop_path
from imago.edge_runtime.records.query import EventQuery, Record, mark, read_events
from imago.edge_runtime.records.schema import open_for_reading

REMEMBERED = 60


class History(Protocol):
    """Where the page's events come from."""

    marks: bool

    def find(self, query: EventQuery) -> list[dict[str, Any]]:
        """Events as JSON (``Record.to_dict``)."""
        ...

    def crop(self, identifier: str) -> bytes | None:
        """JPEG bytes; None where there is no picture (any more)."""
        ...

    def mark(self, identifier: str, *, wrong: bool, correction: str | None) -> None:
        """Say that an event was named wrongly. Raises InputError where there is no such event."""
        ...


class RecordHistory:
    """Events from a records folder, which another thread writes."""

    marks = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, query: EventQuery) -> list[dict[str, Any]]:
        """See ``History.find``."""
        with closing(open_for_reading(self._folder)) as database:
            return [record.to_dict() for record in read_events(database, self._folder, query)]

    def crop(self, identifier: str) -> bytes | None:
        """See ``History.crop``."""
        path = crop_path(self._folder, identifier)
        try:
            return path.read_bytes()
        except OSError:
            return None

    def mark(self, identifier: str, *, wrong: bool, correction: str | None) -> None:
        """See ``History.mark``."""
        mark(self._folder, identifier, wrong=wrong, correction=correction)


class MemoryHistory:
    """The newest ``REMEMBERED`` events; an ``EventSink``."""

    marks = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: deque[tuple[Event, bytes | None]] = deque(maxlen=REMEMBERED)

    def event(self, event: Event) -> None:
        """Remember one event."""
        jpeg = None if event.crop is None else encode_jpeg(event.crop, quality=80, max_side=320)
        with self._lock:
            self._events.append((event, jpeg))

    def find(self, query: EventQuery) -> list[dict[str, Any]]:
        """See ``History.find``; knows labels, unknown, before and limit, newest first."""
        with self._lock:
            kept = list(self._events)
        found = []
        for event, jpeg in reversed(kept):
            said = event.label if query.unknown or not event.unknown else None
            if query.labels and said not in query.labels:
                continue
            if (query.unknown and not event.unknown) or (query.before and event.id >= query.before):
                continue
            shown = Record(event, wrong=False, correction=None, crop=None).to_dict()
            found.append({**shown, "crop": f"{event.id}.jpg" if jpeg else None})
        return found[: query.limit]

    def crop(self, identifier: str) -> bytes | None:
        """See ``History.crop``."""
        with self._lock:
            return next((jpeg for event, jpeg in self._events if event.id == identifier), None)

    def mark(self, identifier: str, *, wrong: bool, correction: str | None) -> None:
        """See ``History.mark``."""
        raise InputError("events can be marked where they are kept: imago run --records FOLDER")
