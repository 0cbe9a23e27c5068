"""One frame on its way from the capture thread to the main thread."""

from __future__ import annotations

import threading
import time

from imago.edge_runtime.types import Frame


class Slot:
    """Holds one frame at most; all waiting is on one condition.

    newest_only: a new frame replaces one that nobody has taken; else ``put`` waits. period: least time
    between frames that are wanted, in seconds (the frame-rate cap).
    """

    def __init__(self, newest_only: bool, period: float = 0.0) -> None:
        # A reentrant lock: wake() may be called by a signal handler while this very thread holds it.
        self._changed = threading.Condition(threading.RLock())
        self._newest_only, self._period = newest_only, period
        self._frame: Frame | None = None
        self._closed = self._ended = self._woken = False
        self._looked = True
        self._due = 0.0
        self._error: Exception | None = None
        self.captured = self.dropped = 0

    def wanted(self) -> bool:
        """Whether a live frame taken now would be used: the frame-rate cap has had its pause."""
        return not self._newest_only or time.monotonic() >= self._due

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
            self._changed.notify()  # nobody but ``take`` waits while a frame is put
            return True

    def end(self, error: Exception | None = None) -> None:
        """No more frames come."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def take(self, timeout: float) -> Frame | None:
        """The next frame; None: the source has ended, somebody woke us, or time is up.

        Raises what the source ended with, after the last frame was taken.
        """
        with self._changed:
            if self._frame is None:
                self._changed.wait_for(self._ready, timeout)
            self._looked = True
            if self._period and not self._newest_only and not self._waited(timeout):
                return None
            frame, self._frame = self._frame, None
            if frame is None and self._error is not None and not self._woken:
                raise self._error
            if frame is not None and self._period:
                self._plan()
            if not self._newest_only:
                self._changed.notify_all()
            return frame

    def _waited(self, timeout: float) -> bool:
        """Let the pause before the next frame of a file go by; False: it has not."""
        pause = self._due - time.monotonic()
        if pause > 0 and not self._woken:
            self._changed.wait_for(lambda: self._woken, min(pause, timeout))
            return time.monotonic() >= self._due
        return True

    def _plan(self) -> None:
        """When the next frame is due: regularly, without catching up on what was missed."""
        now = time.monotonic()
        self._due = self._due + self._period if self._due + self._period > now else now + self._period

    def _ready(self) -> bool:
        return self._frame is not None or self._ended or self._woken or not self._looked

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

    def wake_up(self) -> None:
        """Let the main thread look around once (a source ended)."""
        with self._changed:
            self._looked = False
            self._changed.notify_all()

    def drop(self) -> None:
        """Give back a frame that nobody took."""
        with self._changed:
            if self._frame is not None:
                self._frame.release()
                self._frame = None
                self.captured -= 1  # read ahead, never asked for

    def close(self) -> None:
        """Let go of the capture thread and of a frame that nobody took."""
        with self._changed:
            self._closed = True
            self.drop()
            self._changed.notify_all()
