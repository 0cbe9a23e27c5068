"""Between the loop and a sink of events: a bounded queue and a thread, so that a slow disk delays nothing.

Nothing is lost silently. While the queue is more than half full, new events go in without their picture,
which is nearly all of their memory; when it is full they are lost. Both are counted, and said. A sink that
cannot keep an event (StorageError: the disk is full) is asked again after 1, 2, 4 … 30 s, and the queue
fills meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from imago.edge_runtime.errors import StorageError
from imago.edge_runtime.events import Event, EventSink
from imago.edge_runtime.messages import tr

CAPACITY = 64
RETRY_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
DRAIN_S = 5.0
SAY_EVERY_S = 60.0


class EventQueue:
    """Hands events to ``sink`` in order, from a thread of its own; owns the sink and closes it.

    capacity: events waiting at most. drain_s: how long ``close`` waits for what is still queued.
    kept, lost, stripped: events the sink has taken, that were lost, and that went without their picture.
    """

    def __init__(
        self,
        sink: EventSink,
        *,
        capacity: int = CAPACITY,
        drain_s: float = DRAIN_S,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._sink, self._capacity, self._drain_s = sink, capacity, drain_s
        self._say = say or (lambda _: None)
        self._said = -SAY_EVERY_S
        self._changed = threading.Condition()
        self._waiting: deque[Event] = deque()
        self._closing = self._closed = False
        self.kept = self.lost = self.stripped = 0
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="imago-events", daemon=True)
        self._thread.start()

    def event(self, event: Event) -> None:
        """Queue one event; never waits for the sink."""
        with self._changed:
            if self._closing or self.error is not None or len(self._waiting) >= self._capacity:
                self.lost += 1
                self._complain(tr("{count} events are lost: they cannot be kept", count=self.lost))
                return
            if 2 * len(self._waiting) >= self._capacity and event.crop is not None:
                event = replace(event, crop=None)
                self.stripped += 1
            self._waiting.append(event)
            self._changed.notify_all()

    def _work(self) -> None:
        try:
            while (event := self._next()) is not None and self._keep(event):
                pass
            self._sink.close()
        except Exception as error:  # noqa: BLE001  raised again in the main thread, by close()
            with self._changed:
                self.error = error
                self.lost += len(self._waiting)
                self._waiting.clear()

    def _next(self) -> Event | None:
        """The oldest event, which stays queued until it is kept; None: closed, and there is no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            return self._waiting[0] if self._waiting and not self._closed else None

    def _keep(self, event: Event) -> bool:
        """Until the sink has it; False: it will not, and we are closing."""
        tries = 0
        while True:
            try:
                self._sink.event(event)
            except StorageError as error:
                pause = RETRY_S[min(tries, len(RETRY_S) - 1)]
                tries += 1
                with self._changed:
                    self._complain(str(error))
                    if self._changed.wait_for(lambda: self._closing, pause) and tries > 1:
                        return False  # asked a last time
            else:
                with self._changed:
                    if self._waiting and self._waiting[0] is event:  # else close() has given it up
                        self._waiting.popleft()
                        self.kept += 1
                return True

    def _complain(self, text: str) -> None:
        now = time.monotonic()
        if now - self._said >= SAY_EVERY_S:
            self._said = now
            self._say(text)

    def close(self) -> None:
        """Keep what is queued, for at most ``drain_s``, and close the sink; harmless when called twice.

        What could not be kept counts as lost. Raises what the sink failed with, other than StorageError.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(self._drain_s)
        with self._changed:
            self._closed = True
            self.lost += len(self._waiting)
            self._waiting.clear()
            error, self.error = self.error, None
        if error is not None:
            raise error
