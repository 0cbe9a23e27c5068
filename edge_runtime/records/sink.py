"""Records as the loop sees them: an ``EventSink`` that keeps every event, and can say how it goes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import StorageError
from imago.edge_runtime.events import Event
from imago.edge_runtime.messages import tr
from imago.edge_runtime.records.options import RecordOptions
from imago.edge_runtime.records.store import Store


@dataclass(frozen=True, slots=True)
class RecordsState:
    """How records are doing.

    kept: events committed by this run. refused: events that could never be kept (nonsense). crop_bytes: of
    all crops on disk; crops_skipped: by quota, wear or space. trouble: why the newest event is not written
    yet, in the user's language. set_aside: a damaged database that was found, and where it went.
    """

    kept: int
    refused: int
    crop_bytes: int
    crops_skipped: int
    trouble: str | None
    set_aside: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain keys for JSON."""
        return asdict(self)


class Records:
    """Keeps events in ``folder``; an event is on the disk when ``event`` returns (some ms on an SD card).

    outbox: put events in line for MQTT as well. on_commit: called after each one. say: takes one
    line for people.

    Raises StorageError where the folder cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        options: RecordOptions | None = None,
        *,
        outbox: bool = False,
        on_commit: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.folder = folder
        self._store = Store(folder, options, outbox=outbox)
        self._on_commit, self._say = on_commit, say
        self._one = threading.Lock()
        self._kept = self._refused = 0
        self._trouble: Exception | None = None
        self._last_refusal: Exception | None = None

    def event(self, event: Event) -> None:
        """Keep one event. Raises StorageError where that cannot be done now: hand it over again later."""
        with self._one:
            self._trouble = None
            try:
                self._store.add(event)
            except StorageError as error:
                self._trouble = error
                raise
            except Exception as error:  # noqa: BLE001  one odd event is no reason to lose the next
                if str(error) != str(self._last_refusal):  # nothing is lost silently, nor said for ever
                    self._say(
                        tr("an event cannot be kept: {reason}", reason=f"{type(error).__name__}: {error}")
                    )
                self._trouble = self._last_refusal = error
                self._refused += 1
                return
            self._kept += 1
        self._on_commit()

    def state(self) -> RecordsState:
        """How it goes; may be called from any thread."""
        crops, aside = self._store.crops, self._store.set_aside
        return RecordsState(
            kept=self._kept,
            refused=self._refused,
            crop_bytes=crops.bytes,
            crops_skipped=crops.skipped,
            trouble=None if self._trouble is None else str(self._trouble),
            set_aside=None if aside is None else aside.name,
        )

    def close(self) -> None:
        """Finish; harmless when called twice."""
        with self._one:
            self._store.close()
