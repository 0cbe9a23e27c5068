"""Frames for those who look: taken only when somebody waits for one, encoded once for all of them.

``wants`` is what the loop asks for every frame; nobody waiting, it is one comparison. ``show`` copies the
pixels (the camera wants them back) and leaves encoding to a thread of its own.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from imago.edge_runtime.imageio import encode_jpeg
from imago.edge_runtime.sinks import Seen
from imago.edge_runtime.types import Frame

MAX_FPS = 15.0
MAX_SIDE = 1280
QUALITY = 80
TOP = 3
FRESH_S = 2.0  # an older picture is no answer to "what does the camera see"


@dataclass(frozen=True, slots=True)
class Shot:
    """One encoded frame. answer: what was seen on it, as plain keys for JSON. made: ``time.monotonic``."""

    number: int
    jpeg: bytes
    answer: dict[str, Any]
    made: float


class FrameHub:
    """A ``Viewer`` that serves any number of waiting threads. max_fps: pictures a second at most."""

    def __init__(self, max_fps: float = MAX_FPS) -> None:
        self._period = 1 / max_fps
        self._changed = threading.Condition()
        self._waiting = 0
        self._due = 0.0
        self._pending: tuple[Frame, Seen] | None = None
        self._shot: Shot | None = None
        self._number = 0
        self._closed = False
        self.encoded = 0
        self._thread = threading.Thread(target=self._encode, name="imago-page-frames", daemon=True)
        self._thread.start()

    def wants(self) -> bool:
        """See ``Viewer.wants``."""
        return self._waiting > 0 and self._pending is None and time.monotonic() >= self._due

    def show(self, frame: Frame, seen: Seen) -> None:
        """See ``Viewer.show``."""
        # Rows and columns are left out of pictures much larger than a page: cheaper than a fair shrinking,
        # and only the page sees it.
        step = -(-max(frame.image.shape[:2]) // MAX_SIDE)
        pixels = np.ascontiguousarray(frame.image[::step, ::step])
        if pixels is frame.image or pixels.base is not None:
            pixels = pixels.copy()
        with self._changed:
            self._due = time.monotonic() + self._period
            self._pending = replace(frame, image=pixels, on_release=None), _scaled(seen, step)
            self._changed.notify_all()

    @property
    def viewers(self) -> int:
        """How many wait at this moment."""
        return self._waiting

    def wait(self, after: int, timeout: float) -> Shot | None:
        """The newest shot with a number above ``after``; None: none came in ``timeout`` seconds.

        One that was made for somebody long gone does not count.
        """
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: self._closed or self._newer(after), timeout)
                return self._shot if self._newer(after) else None
            finally:
                self._waiting -= 1

    def close(self) -> None:
        """Let everybody go; harmless when called twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(2)

    def _newer(self, after: int) -> bool:
        shot = self._shot
        return shot is not None and shot.number > after and time.monotonic() - shot.made < FRESH_S

    def _encode(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._pending is not None)
                pending = self._pending
            if self._closed or pending is None:
                return
            frame, seen = pending
            jpeg = encode_jpeg(frame, quality=QUALITY, max_side=MAX_SIDE)
            height, width = frame.image.shape[:2]
            with self._changed:
                self._number += 1
                self.encoded += 1
                said = {"width": width, "height": height, **answer(seen)}
                self._shot = Shot(self._number, jpeg, said, time.monotonic())
                self._pending = None
                self._changed.notify_all()


def answer(seen: Seen) -> dict[str, Any]:
    """What was seen on one frame, as plain keys for JSON; labels cut at 100 characters."""
    return {
        "frame": seen.index,
        "time_s": round(seen.time_s, 3),
        "idle": seen.idle,
        "top": [
            {"label": s.label[:100], "index": s.index, "confidence": _number(s.confidence)}
            for s in seen.prediction.top(TOP)
        ],
        "subjects": [
            {
                "label": subject.score.label[:100],
                "index": subject.score.index,
                "confidence": _number(subject.score.confidence),
                "unknown": subject.unknown,
                "box": None if subject.box is None else list(subject.box),
            }
            for subject in seen.subjects[:20]
        ],
        "latency_ms": _number(seen.latency_us / 1e3),
        "age_ms": _number(seen.age_us / 1e3),
    }


def _number(value: float) -> float:
    return round(value, 4) if value == value else 0.0  # noqa: PLR0124  not a number is no JSON


def _scaled(seen: Seen, step: int) -> Seen:
    """Boxes in the pixels of the picture as it is shown."""
    if step == 1:
        return seen
    subjects = tuple(
        s
        if s.box is None
        else replace(s, box=(s.box[0] // step, s.box[1] // step, s.box[2] // step, s.box[3] // step))
        for s in seen.subjects
    )
    return replace(seen, subjects=subjects)
