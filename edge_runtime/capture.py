"""The capture thread: source → a slot of one frame; a live source that fails or falls silent is reopened.

Whatever a driver does, it does it in a thread of its own. A thread that hangs is left behind (it is a
daemon, and gives its frame back should it ever wake up) and another one opens the source again, after
0.5, 1, 2 … 30 s. Where several threads hang, no more are sent after them: see ``Capture.wedged``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from imago.edge_runtime.cameras.base import Source
from imago.edge_runtime.errors import CameraError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.slot import Slot

JOIN_S = 2.0
STALL_S = 1.6  # with the main loop looking every quarter of a second: told within 2 s
OPENING_S = 10.0  # until the first picture: network cameras take their time
BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
HEALTHY_S = 10.0  # pictures for so long, and the next failure begins with the shortest pause again
MAX_HUNG = 4
SAY_EVERY = 20  # tries, once they have become routine: six lines an hour in the journal, not 120


class _Run:
    """One thread with one source, from opening it until it ends, fails or is given up."""

    def __init__(self, slot: Slot, source: Source | None, reopen: Callable[[], Source] | None) -> None:
        self._slot, self._reopen = slot, reopen
        self.source = source
        self.given_up = self.ended = False
        self.delivered = 0
        self.began = self.heard = time.monotonic()
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._work, name="imago-capture", daemon=True)

    def _work(self) -> None:
        try:
            if self.source is None and self._reopen is not None:
                self.source = self._reopen()
            self._deliver()
        except Exception as error:  # noqa: BLE001  drivers raise anything; the main thread decides
            self.error = error
        self.ended = True
        self._slot.wake_up()

    def _deliver(self) -> None:
        source: Any = self.source
        if self._unwanted():  # it opened after all, and nobody waits any more
            source.close()
            return
        if hasattr(source, "wanted"):  # it can pass over a frame before it is decoded
            source.wanted = self._wanted
        slot = self._slot
        for frame in source:
            if self.given_up:
                frame.release()
                source.close()
                return
            if not slot.wanted():
                frame.release()
            elif not slot.put(frame):
                return
            self.heard = time.monotonic()  # after the frame is on its way
            self.delivered += 1

    def _unwanted(self) -> bool:  # a call, since another thread sets it meanwhile
        return self.given_up

    def _wanted(self) -> bool:
        self.heard = time.monotonic()
        return self._slot.wanted()

    def silent(self, stall_s: float, opening_s: float) -> bool:
        """Whether it has been quiet for too long."""
        patience = stall_s if self.delivered else opening_s
        return not self.ended and time.monotonic() - self.heard >= patience

    def give_up(self) -> None:
        """Close the source from a thread of its own: closing what hangs may hang as well."""
        self.given_up = True
        if self.source is not None:
            threading.Thread(target=self._close, name="imago-close", daemon=True).start()

    def _close(self) -> None:
        try:
            if self.source is not None:
                self.source.close()
        except Exception:  # noqa: BLE001, S110  it was given up already; there is nobody left to tell
            pass


class Capture:
    """Keeps frames coming from ``source`` into ``slot``; the main thread calls ``tend`` every so often.

    reopen: opens the source again (live ones only); without it, failure and silence are a CameraError.
    stall_s: silence that counts as a failure; opening_s: before the first picture. backoff_s: pauses before
    the tries. say: takes one line for people.
    """

    def __init__(
        self,
        source: Source,
        slot: Slot,
        *,
        reopen: Callable[[], Source] | None = None,
        stall_s: float = STALL_S,
        opening_s: float = OPENING_S,
        backoff_s: Sequence[float] = BACKOFF_S,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._slot, self._live = slot, source.live
        self._stall_s, self._opening_s, self._backoff_s = stall_s, max(opening_s, stall_s), backoff_s
        self._reopen = reopen if source.live else None
        self._say = say or (lambda _: None)
        self._description = source.description
        self._run = _Run(slot, source, self._reopen)
        self._hung: list[_Run] = []
        self._down_since: float | None = None
        self._retry_at: float | None = None
        self._tries = 0
        self._downtime = 0.0
        self.failures = self.stalls = self.reopened = 0

    def start(self) -> None:
        """Begin to capture."""
        self._run.thread.start()

    @property
    def down(self) -> bool:
        """Whether the camera is being waited for."""
        return self._down_since is not None

    @property
    def downtime_s(self) -> float:
        """How long there were no pictures, in all."""
        since = self._down_since  # read once: the page asks from threads of its own
        return self._downtime + (0.0 if since is None else time.monotonic() - since)

    @property
    def wedged(self) -> bool:
        """So many threads hang in the driver that only a new process can help."""
        self._hung = [run for run in self._hung if run.thread.is_alive()]
        return len(self._hung) >= MAX_HUNG

    def tend(self) -> None:
        """See that pictures come. Raises CameraError where a live source failed that cannot be reopened."""
        run = self._run
        if self._retry_at is not None:
            if time.monotonic() >= self._retry_at and not self.wedged:
                self._open_again()
        elif run.ended and not run.given_up:
            self._ended(run)
        elif self._live and run.silent(self._stall_s, self._opening_s):
            self.stalls += 1
            self._failed(run, self._silence())
        elif run.delivered:
            self._healthy(run)

    def _ended(self, run: _Run) -> None:
        if run.error is None or self._reopen is None:
            self._slot.end(run.error)
        else:
            self._failed(run, run.error)

    def _silence(self) -> CameraError:
        return CameraError(
            "{source} has delivered no picture for {seconds} seconds; is it still connected?",
            source=self._description,
            seconds=f"{self._stall_s:g}",
        )

    def _failed(self, run: _Run, error: Exception) -> None:
        self.failures += 1
        self._slot.drop()  # before its memory goes back to the driver
        if self._reopen is None:
            raise error
        run.give_up()
        self._hung.append(run)
        if self._down_since is None:
            self._down_since = run.heard
        pause = self._backoff_s[min(self._tries, len(self._backoff_s) - 1)]
        self._tries += 1
        self._retry_at = time.monotonic() + pause
        if self._tries <= len(self._backoff_s) or self._tries % SAY_EVERY == 0:
            self._say(
                tr(
                    "{reason}; trying again in {seconds} s (failure {count})",
                    reason=str(error) or type(error).__name__,
                    seconds=f"{pause:g}",
                    count=self.failures,
                )
            )

    def _open_again(self) -> None:
        self._retry_at = None
        self._run = _Run(self._slot, None, self._reopen)
        self._run.thread.start()

    def _healthy(self, run: _Run) -> None:
        if self._down_since is not None:
            self._downtime += run.heard - self._down_since
            self._down_since = None
            self.reopened += 1
            self._say(tr("{source} delivers again", source=self._description))
        if self._tries and run.heard - run.began >= HEALTHY_S:
            self._tries = 0

    def close(self) -> None:
        """End the capture thread; one that hangs in a driver is left behind."""
        self._slot.close()
        run = self._run
        if run.source is None:
            run.given_up = True  # still opening: it closes what it opens
        else:
            run.source.close()
        if run.thread.ident is not None:
            run.thread.join(JOIN_S)
