"""Ctrl-C and SIGTERM as a wish that the loop looks at between two steps, so that nothing is torn."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from imago.edge_runtime.errors import ImagoError


class Interrupted(ImagoError):
    """The run was stopped by the user and has saved its state."""

    exit_code = 128 + signal.SIGINT


class StopWish:
    """``with StopWish() as stop: … if stop.wished: …``. A second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.wished = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopWish:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.wished:
            raise KeyboardInterrupt
        self.wished = True
