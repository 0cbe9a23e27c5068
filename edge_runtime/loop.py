"""Camera in, predictions and events out: the loop of ``imago run``.

A thread takes frames from the source into a slot of one frame (``capture.py``); the main thread takes the
frame out, looks at it (``watch.py``) and hands the answer to sinks and viewers, and finished visits to the
events' queues. For a live source a newer frame replaces the one in the slot (which is counted as dropped);
for a file the thread waits until the slot is free, so that every frame is seen in order. All waiting is on
one condition, and nothing grows with time.

The loop stops when
1. the source ends;
2. ``max_frames`` frames were looked at;
3. ``max_seconds`` have passed;
4. ``Loop.stop()`` is called, which SIGINT and SIGTERM do under ``stopping_on_signals``;
5. a source that cannot be reopened (a file; or ``reopen`` was not given) fails, or is live and silent for
   ``stall_seconds`` (CameraError), or a sink, a viewer or the model fails (their error).
A camera that fails or falls silent while it can be reopened never stops the loop. In every case frames are
released, visits under way become events, and source and sinks are closed.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

from imago.edge_runtime.cameras.base import Source
from imago.edge_runtime.capture import BACKOFF_S, OPENING_S, STALL_S, Capture
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.eventqueue import EventQueue
from imago.edge_runtime.events import Event, EventSink, Viewer
from imago.edge_runtime.messages import tr
from imago.edge_runtime.notify import Notifier
from imago.edge_runtime.runstats import RunStats
from imago.edge_runtime.sinks import Seen, Sink
from imago.edge_runtime.slot import Slot
from imago.edge_runtime.stats import LatencyHistogram
from imago.edge_runtime.types import Frame
from imago.edge_runtime.watch import Look, Predictor

LOOK_AGAIN_S = 0.25  # a signal may land between looking and waiting, and must not be lost for long

__all__ = ["Looker", "Loop", "LoopOptions", "Predictor", "RunStats", "Slot", "stopping_on_signals"]


class Looker(Protocol):
    """What the loop asks about every frame: ``watch.Watch``."""

    def look(self, frame: Frame) -> Look:
        """What it shows, and the visits that have ended."""
        ...

    def finish(self) -> tuple[Event, ...]:
        """End the visits under way; returns their events."""
        ...


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """When to stop (see the module's docstring), and how fast to go. None: no limit.

    max_fps: frames looked at per second; in between the loop sleeps. opening_seconds: patience with a camera
    until its first picture. backoff_seconds: pauses before a camera is opened again, the last one for ever.
    """

    max_frames: int | None = None
    max_seconds: float | None = None
    stall_seconds: float = STALL_S
    max_fps: float | None = None
    opening_seconds: float = OPENING_S
    backoff_seconds: tuple[float, ...] = BACKOFF_S

    def __post_init__(self) -> None:
        limits = (
            ("--frames", self.max_frames),
            ("--seconds", self.max_seconds),
            ("--max-fps", self.max_fps),
        )
        for name, value in limits:
            if value is not None and not value > 0:
                raise InputError(
                    "{name} {value} is not usable; expected a number above 0", name=name, value=value
                )


class Loop:
    """One run of ``source`` through ``looker`` into sinks; owns source and sinks, and closes them.

    looker: a ``Watch``, or a bare predictor (then every frame is classified whole, and there are no events).
    events: sinks for finished visits, each behind a queue of its own. viewers: look at frames on this
    thread, while the frame is borrowed. reopen: opens a live source again. notifier: systemd. say: takes one
    line for people.
    """

    def __init__(
        self,
        looker: Looker | Predictor,
        source: Source,
        sinks: Sequence[Sink] = (),
        options: LoopOptions | None = None,
        *,
        events: Sequence[EventSink] = (),
        viewers: Sequence[Viewer] = (),
        reopen: Callable[[], Source] | None = None,
        notifier: Notifier | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._looker: Looker = _Plain(looker) if isinstance(looker, Predictor) else looker
        self._source, self._sinks, self._viewers = source, sinks, viewers
        self._options = options or LoopOptions()
        period = 1 / self._options.max_fps if self._options.max_fps else 0.0
        self._slot = Slot(newest_only=source.live, period=period)
        self._capture = Capture(
            source,
            self._slot,
            reopen=reopen,
            stall_s=self._options.stall_seconds,
            opening_s=self._options.opening_seconds,
            backoff_s=self._options.backoff_seconds,
            say=say,
        )
        self._queues = [EventQueue(sink, say=say) for sink in events]
        self._notifier = notifier or Notifier()
        self._latency, self._age = LatencyHistogram(), LatencyHistogram()
        self._began = time.monotonic()
        self._ended: float | None = None
        self._stopped_by = ""
        self._processed = self._idle = self._calls = self._events = 0

    def stop(self, reason: str = "stop") -> None:
        """End the run after the frame in hand; may be called from any thread or signal handler."""
        self._stopped_by = self._stopped_by or reason
        self._slot.wake()

    def run(self) -> RunStats:
        """Run until a stop condition; see the module's docstring for what it raises."""
        self._began = time.monotonic()
        self._capture.start()
        self._notifier.ready()
        try:
            self._consume()
        finally:
            self._ended = time.monotonic()
            self._shut_down()
        return self.stats()

    def stats(self) -> RunStats:
        """What has happened so far; may be called from any thread."""
        capture = self._capture
        return RunStats(
            captured=self._slot.captured,
            processed=self._processed,
            dropped=self._slot.dropped,
            seconds=(self._ended or time.monotonic()) - self._began,
            stopped_by=self._stopped_by,
            latency=self._latency.summary(),
            age=self._age.summary(),
            idle=self._idle,
            calls=self._calls,
            events=self._events,
            events_lost=sum(queue.lost for queue in self._queues),
            events_stripped=sum(queue.stripped for queue in self._queues),
            failures=capture.failures,
            stalls=capture.stalls,
            reopened=capture.reopened,
            downtime_s=capture.downtime_s,
            resets=getattr(self._looker, "resets", 0),
        )

    def camera(self) -> dict[str, Any]:
        """How the camera is doing, as plain keys for JSON; may be called from any thread."""
        capture = self._capture
        return {
            "down": capture.down,
            "failures": capture.failures,
            "stalls": capture.stalls,
            "reopened": capture.reopened,
            "downtime_s": round(capture.downtime_s, 1),
        }

    def _consume(self) -> None:
        """The main thread: slot → watch → sinks."""
        options = self._options
        while not self._stopped_by:
            self._capture.tend()
            self._report()
            frame = self._slot.take(self._patience())
            if frame is not None:
                with frame:
                    self._take_in(frame)
                if self._processed == options.max_frames:
                    self._stopped_by = self._stopped_by or "frames"
            elif self._slot.ended:
                self._stopped_by = self._stopped_by or "end"
            if options.max_seconds is not None and time.monotonic() - self._began >= options.max_seconds:
                self._stopped_by = self._stopped_by or "seconds"

    def _patience(self) -> float:
        """How long to wait for a frame before looking at the clock again, in seconds."""
        if self._options.max_seconds is None:
            return LOOK_AGAIN_S
        return min(LOOK_AGAIN_S, max(0.0, self._began + self._options.max_seconds - time.monotonic()))

    def _report(self) -> None:
        """Tell systemd that we live, unless only a new process can get the camera back."""
        if not self._capture.wedged:
            self._notifier.alive()
        if self._notifier.wants_status():
            self._notifier.status(
                tr(
                    "{state}; {frames} frames, {events} events, {reopened} times reopened",
                    state=tr("no pictures from the camera") if self._capture.down else tr("watching"),
                    frames=self._processed,
                    events=self._events,
                    reopened=self._capture.reopened,
                )
            )

    def _take_in(self, frame: Frame) -> None:
        start = time.monotonic_ns()
        look = self._looker.look(frame)
        now = look.answered_ns or time.monotonic_ns()
        latency = now - start
        age = max(0, now - frame.timestamp_ns) if frame.timestamp_ns else latency
        self._age.add(age)
        if look.calls:
            self._latency.add(latency)
        seen = Seen(
            frame.index,
            frame.name,
            now / 1e9 - self._began,
            look.prediction,
            latency / 1e3,
            age / 1e3,
            idle=look.calls == 0,
            subjects=look.subjects,
        )
        self._processed += 1
        self._idle += look.calls == 0
        self._calls += look.calls
        self._hand_over(look.events)
        for sink in self._sinks:
            sink.write(seen)
        for viewer in self._viewers:
            if viewer.wants():
                viewer.show(frame, seen)

    def _hand_over(self, events: tuple[Event, ...]) -> None:
        for event in events:
            self._events += 1
            for queue in self._queues:
                queue.event(event)

    def _shut_down(self) -> None:
        self._notifier.stopping()
        with contextlib.ExitStack() as stack:  # one that fails does not keep the others from closing
            stack.callback(self._notifier.close)
            for sink in reversed(self._sinks):
                stack.callback(sink.close)
            for queue in reversed(self._queues):
                stack.callback(queue.close)
            stack.callback(self._capture.close)
            self._hand_over(self._looker.finish())


class _Plain:
    """A bare predictor as a looker: one answer a frame."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def look(self, frame: Frame) -> Look:
        """See ``Looker.look``."""
        return Look(self._predictor.predict(frame), (), (), 1, time.monotonic_ns())

    def finish(self) -> tuple[Event, ...]:
        """See ``Looker.finish``."""
        return ()


@contextlib.contextmanager
def stopping_on_signals(loop: Loop) -> Iterator[None]:
    """Within the block SIGINT (Ctrl-C) and SIGTERM (systemd) end ``loop`` in order. Main thread only."""

    def handler(number: int, _frame: FrameType | None) -> None:
        loop.stop(signal.Signals(number).name)

    old = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, previous in old.items():
            signal.signal(number, previous)
