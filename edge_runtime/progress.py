"""A progress bar on standard error: one line, redrawn at most ten times a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from imago.edge_runtime.messages import tr

WIDTH = 24
REDRAW_S = 0.1
_watchers: list[Callable[[Progress], None]] = []


def watch_progress(seen: Callable[[Progress], None]) -> None:
    """``seen`` is called at every ``advance`` of every bar in this process, drawn or not."""
    _watchers.append(seen)


def duration(seconds: float) -> str:
    """``75`` → ``1:15``; ``3725`` → ``1:02:05``."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{secs:02}" if hours else f"{minutes}:{secs:02}"


class Progress:
    """``with Progress(total, "decoding") as bar: bar.advance()``; silent where stderr is no terminal.

    total: number of steps (0: unknown). label: what is being done, already translated.
    """

    def __init__(self, total: int, label: str, *, stream: TextIO | None = None) -> None:
        self.total, self.label = total, label
        self.stream = stream if stream is not None else sys.stderr
        self.enabled = self.stream.isatty()
        self.done = 0
        self.note = ""
        self._began = time.monotonic()
        self._drawn = 0.0

    @property
    def due(self) -> bool:
        """Whether the next ``advance`` will draw: only then is a new note worth making."""
        return self.enabled and time.monotonic() - self._drawn > REDRAW_S

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count ``steps`` more; ``note`` replaces the text at the end of the line."""
        self.done += steps
        self.note = note or self.note
        for seen in _watchers:
            seen(self)
        if self.due or (self.enabled and self.done == self.total):
            self._drawn = time.monotonic()
            self.stream.write(f"\r\x1b[K{self.line(self._drawn)}")
            self.stream.flush()

    def clear(self) -> None:
        """Wipe the line, so that something else can be printed; the next ``advance`` draws it again."""
        if self.enabled:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
            self._drawn = 0.0

    def line(self, now: float) -> str:
        """The line as it would be drawn at monotonic time ``now``."""
        rate = self.done / max(now - self._began, 1e-9)
        if not self.total:
            return f"{self.label} {self.done} {self.note}".rstrip()
        filled = WIDTH * min(self.done, self.total) // self.total
        bar = "█" * filled + "░" * (WIDTH - filled)
        left = tr("{time} left", time=duration((self.total - self.done) / max(rate, 1e-9)))
        return f"{self.label} {bar} {self.done}/{self.total} {left} {self.note}".rstrip()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.enabled:
            self.stream.write("\r\x1b[K" if kind is None else "\n")
            self.stream.flush()
