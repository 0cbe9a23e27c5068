"""Camera in, predictions out: the loop of ``imago run``.

A thread takes frames from the source into a slot of one frame; the main thread takes the frame out,
asks the model and hands the answer to the sinks. For a live source a newer frame replaces the one in
the slot (which is counted as dropped); for a file the thread waits until the slot is free, so that every
frame is seen in order. All waiting is on one condition, and nothing grows with time.

The loop stops when
1. the source ends;
2. ``max_frames`` predictions were made;
3. ``max_seconds`` have passed;
4. ``Loop.stop()`` is called, which SIGINT and SIGTERM do under ``stopping_on_signals``;
5. the source fails, or is live and silent for ``stall_seconds`` (CameraError), or a sink or the model
   fails (their error).
In every case frames are released, and source and sinks are closed.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

from imago.edge_runtime.cameras.base import Source
from imago.edge_runtime.errors import CameraError, InputError
from imago.edge_runtime.sinks import Seen, Sink
from imago.edge_runtime.stats import LatencyHistogram, Percentiles
from imago.edge_runtime.types import Frame, Prediction

JOIN_S = 2.0
STALL_S = 15.0
LOOK_AGAIN_S = 0.5  # a signal may land between looking and waiting, and must not be lost for long


class Predictor(Protocol):
    """What the loop needs of a model: ``Classifier``, or a stand-in."""

    def predict(self, frame: Frame) -> Prediction:
        """The answer for one frame."""
        ...


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """When to stop (see the module's docstring). None: no limit."""

    max_frames: int | None = None
    max_seconds: float | None = None
    stall_seconds: float = STALL_S

    def __post_init__(self) -> None:
        for name, value in (("--frames", self.max_frames), ("--seconds", self.max_seconds)):
            if value is not None and not value > 0:
                raise InputError(
                    "{name} {value} is not usable; expected a number above 0", name=name, value=value
                )


@dataclass(frozen=True, slots=True)
class RunStats:
    """What happened. latency: preprocessing and engine; age: from taking the picture to its answer."""

    captured: int
    processed: int
    dropped: int
    seconds: float
    stopped_by: str
    latency: Percentiles | None
    age: Percentiles | None

    @property
    def fps(self) -> float:
        """Predictions a second."""
        return self.processed / self.seconds if self.seconds > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain keys for ``--json``."""
        return {
            "captured": self.captured,
            "processed": self.processed,
            "dropped": self.dropped,
            "seconds": round(self.seconds, 3),
            "fps": round(self.fps, 2),
            "stopped_by": self.stopped_by,
            "latency": None if self.latency is None else self.latency.to_dict(),
            "age": None if self.age is None else self.age.to_dict(),
        }


class Slot:
    """One frame on its way from the capture thread to the main thread."""

    def __init__(self, newest_only: bool) -> None:
        # A reentrant lock: wake() may be called by a signal handler while this very thread holds it.
        self._changed = threading.Condition(threading.RLock())
        self._newest_only = newest_only
        self._frame: Frame | None = None
        self._closed = self._ended = self._woken = False
        self._error: Exception | None = None
        self.captured = self.dropped = 0

    def put(self, frame: Frame) -> bool:
        """Hand over a frame (capture thread); False: nobody wants frames any more."""
        with self._changed:
            while self._frame is not None and not self._newest_only and not self._closed:
                self._changed.wait()
            if self._closed:
                frame.release()
                return False
            self.captured += 1
            if self._frame is not None:
                self.dropped += 1
                self._frame.release()
            self._frame = frame
            self._changed.notify_all()
            return True

    def end(self, error: Exception | None = None) -> None:
        """No more frames come (capture thread)."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def take(self, timeout: float) -> Frame | None:
        """The next frame; None: the source has ended, somebody woke us, or time is up.

        Raises what the capture thread ended with, after the last frame was taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._ended or self._woken, timeout)
            frame, self._frame = self._frame, None
            if frame is None and self._error is not None and not self._woken:
                raise self._error
            self._changed.notify_all()
            return frame

    @property
    def ended(self) -> bool:
        """True once the source has ended well and its last frame was taken."""
        with self._changed:
            return self._ended and self._frame is None and self._error is None

    def wake(self) -> None:
        """Make ``take`` return at once; may be called from a signal handler."""
        self._woken = True
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Let go of the capture thread and of a frame that nobody took."""
        with self._changed:
            self._closed = True
            if self._frame is not None:
                self._frame.release()
                self._frame = None
                self.captured -= 1  # read ahead, never asked for
            self._changed.notify_all()


class Loop:
    """One run of ``source`` through ``predictor`` into ``sinks``; owns source and sinks, and closes them."""

    def __init__(
        self,
        predictor: Predictor,
        source: Source,
        sinks: Sequence[Sink] = (),
        options: LoopOptions | None = None,
    ) -> None:
        self._predictor, self._source, self._sinks = predictor, source, sinks
        self._options = options or LoopOptions()
        self._slot = Slot(newest_only=source.live)
        self._latency, self._age = LatencyHistogram(), LatencyHistogram()
        self._stopped_by = ""
        self._processed = 0

    def stop(self, reason: str = "stop") -> None:
        """End the run after the frame in hand; may be called from any thread or signal handler."""
        self._stopped_by = self._stopped_by or reason
        self._slot.wake()

    def run(self) -> RunStats:
        """Run until a stop condition; see the module's docstring for what it raises."""
        capture = threading.Thread(target=self._capture, name="imago-capture", daemon=True)
        began = time.monotonic()
        capture.start()
        try:
            self._consume(began)
            seconds = time.monotonic() - began
        finally:
            self._shut_down(capture)
        return RunStats(
            captured=self._slot.captured,
            processed=self._processed,
            dropped=self._slot.dropped,
            seconds=seconds,
            stopped_by=self._stopped_by,
            latency=self._latency.summary(),
            age=self._age.summary(),
        )

    def _capture(self) -> None:
        """The capture thread: source → slot."""
        try:
            for frame in self._source:
                if not self._slot.put(frame):
                    break
        except Exception as error:  # noqa: BLE001  carried over to the main thread, which raises it
            self._slot.end(error)
        else:
            self._slot.end()

    def _consume(self, began: float) -> None:
        """The main thread: slot → model → sinks."""
        options, heard = self._options, began
        while not self._stopped_by:
            frame = self._slot.take(self._patience(began))
            if frame is not None:
                with frame:
                    seen = self._answer(frame, began)
                for sink in self._sinks:
                    sink.write(seen)
                self._processed += 1
                if self._processed == options.max_frames:
                    self._stopped_by = self._stopped_by or "frames"
            elif self._slot.ended:
                self._stopped_by = self._stopped_by or "end"
            if options.max_seconds is not None and time.monotonic() - began >= options.max_seconds:
                self._stopped_by = self._stopped_by or "seconds"
            if frame is not None:
                heard = time.monotonic()
            elif self._source.live and time.monotonic() - heard >= options.stall_seconds:
                raise CameraError(
                    "{source} has delivered no picture for {seconds} seconds; is it still connected?",
                    source=self._source.description,
                    seconds=f"{options.stall_seconds:g}",
                )

    def _patience(self, began: float) -> float:
        """How long to wait for a frame before looking at the clock again, in seconds."""
        if self._options.max_seconds is None:
            return LOOK_AGAIN_S
        return min(LOOK_AGAIN_S, max(0.0, began + self._options.max_seconds - time.monotonic()))

    def _answer(self, frame: Frame, began: float) -> Seen:
        start = time.perf_counter_ns()
        prediction = self._predictor.predict(frame)
        latency = time.perf_counter_ns() - start
        now = time.monotonic_ns()
        age = max(0, now - frame.timestamp_ns) if frame.timestamp_ns else latency
        self._latency.add(latency)
        self._age.add(age)
        return Seen(frame.index, frame.name, now / 1e9 - began, prediction, latency / 1e3, age / 1e3)

    def _shut_down(self, capture: threading.Thread) -> None:
        self._slot.close()
        self._source.close()
        capture.join(JOIN_S)  # a thread that hangs in a driver is left behind: it is a daemon
        for sink in self._sinks:
            sink.close()


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
