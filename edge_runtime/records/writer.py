"""Records as the loop sees them: hand an event over and go on; a thread of its own does the writing.

What waits is bounded. While the disk cannot take it, events wait in memory and are tried again with
growing pauses; a slow disk costs crops first, and events only when a thousand of them wait.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import StorageError
from imago.edge_runtime.events import Event
from imago.edge_runtime.records.options import RecordOptions
from imago.edge_runtime.records.store import Store

MAX_WAITING = 1000
MAX_CROPS_WAITING = 16
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
CLOSE_S = 10.0


@dataclass(frozen=True, slots=True)
class RecordsState:
    """How records are doing. kept: events committed by this run; waiting: in memory; lost: never kept.

    crop_bytes: of all crops on disk; crops_skipped: by quota, wear or space; trouble: what keeps events
    from being written now, in the user's language.
    """

    kept: int
    waiting: int
    lost: int
    crop_bytes: int
    crops_skipped: int
    trouble: str | None
    set_aside: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain keys for JSON."""
        return asdict(self)


class Records:
    """An ``EventSink`` that keeps events in ``folder``.

    outbox: put them in line for MQTT as well. on_commit: called (by the writing thread) after each event.

    Raises StorageError where the folder cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        options: RecordOptions | None = None,
        *,
        outbox: bool = False,
        on_commit: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder = folder
        self._store = Store(folder, options, outbox=outbox)
        self._on_commit = on_commit
        self._changed = threading.Condition()
        self._waiting: deque[Event] = deque()
        self._kept = self._lost = self._crops_lost = 0
        self._trouble: Exception | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="imago-records", daemon=True)
        self._thread.start()

    def event(self, event: Event) -> None:
        """Take one event; never waits for the disk."""
        with self._changed:
            if len(self._waiting) >= MAX_WAITING:
                self._lost += 1
                return
            if event.crop is not None and len(self._waiting) >= MAX_CROPS_WAITING:
                event = replace(event, crop=None)
                self._crops_lost += 1
            self._waiting.append(event)
            self._changed.notify()

    def state(self) -> RecordsState:
        """How it goes; may be called from any thread."""
        with self._changed:
            aside = self._store.set_aside
            return RecordsState(
                kept=self._kept,
                waiting=len(self._waiting),
                lost=self._lost,
                crop_bytes=self._store.crops.bytes,
                crops_skipped=self._store.crops.skipped + self._crops_lost,
                trouble=None if self._trouble is None else str(self._trouble),
                set_aside=None if aside is None else aside.name,
            )

    def close(self) -> None:
        """Write what waits, as far as the disk takes it, then stop; harmless when called twice."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(CLOSE_S)

    def _work(self) -> None:
        pause = FIRST_PAUSE_S
        try:
            while (event := self._next()) is not None:
                if self._try(event):
                    pause = FIRST_PAUSE_S
                    continue
                with self._changed:
                    if self._closing:
                        break
                    self._changed.wait_for(lambda: self._closing, pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
        finally:
            with self._changed:
                self._lost += len(self._waiting)
                self._waiting.clear()
            self._store.close()

    def _next(self) -> Event | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            return self._waiting[0] if self._waiting else None

    def _try(self, event: Event) -> bool:
        """Write the event in front; it leaves the line when it is committed, or can never be."""
        trouble: Exception | None = None
        try:
            self._store.add(event)
        except Exception as error:  # noqa: BLE001  whatever an odd event raises, the next one is kept
            trouble = error
        done = not isinstance(trouble, StorageError)
        with self._changed:
            self._trouble = trouble
            if done:
                self._waiting.popleft()
                self._kept += trouble is None
                self._lost += trouble is not None
        if trouble is None:
            self._on_commit()
        return done
