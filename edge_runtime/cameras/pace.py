"""Keeping a rate without sleeping blindly: waits end at once when the source is closed."""

from __future__ import annotations

import threading
import time


class Pace:
    """``fps`` beats a second, counted from the first one; None: no waiting at all."""

    def __init__(self, fps: float | None) -> None:
        self._period = None if fps is None else 1 / fps
        self._closed = threading.Event()
        self._began = 0.0

    def wait(self, index: int) -> bool:
        """Wait until beat ``index`` is due; False when closed."""
        if self._period is not None:
            now = time.monotonic()
            if index == 0:
                self._began = now
            delay = self._began + index * self._period - now
            if delay > 0:
                self._closed.wait(delay)
        return self.open

    @property
    def open(self) -> bool:
        """False once closed."""
        return not self._closed.is_set()

    def close(self) -> None:
        """End all waits, now and later."""
        self._closed.set()
