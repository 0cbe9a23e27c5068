"""An event: one visit of one subject, from the first frame that shows it to the last.

Made by the loop's decisions (smoothing, threshold, tracks), kept by records, sent by MQTT, shown by the
live page. This file holds only the value and the seams, so that neither side imports the other.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Protocol

from imago.edge_runtime.sinks import Seen
from imago.edge_runtime.types import Box, Frame, Score

__all__ = ["Box", "Event", "EventSink", "Viewer", "event_id"]


def event_id(start: float) -> str:
    """An identifier that sorts by time and is unique without asking anyone: milliseconds, then chance."""
    return f"{max(0, int(start * 1000)):012x}{os.urandom(4).hex()}"


@dataclass(frozen=True, slots=True)
class Event:
    """One visit.

    id: ``event_id``. source, model: where it was seen, and by what. start, end: seconds of Unix time.
    duration_s: by the monotonic clock, right even where the wall clock was set meanwhile. frames: that
    showed it. top: likeliest classes, best first, averaged over the visit. unknown: the best class stays
    below the threshold, or the picture is unlike the training data. box: ``(left, top, width, height)`` in
    the frame's pixels, None for the whole frame. crop: the best moment, a frame of its own memory, or None.
    """

    id: str
    source: str
    model: str
    start: float
    end: float
    duration_s: float
    frames: int
    top: tuple[Score, ...]
    unknown: bool = False
    box: Box | None = None
    crop: Frame | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.top or self.frames < 1 or self.duration_s < 0:
            raise ValueError(
                f"not an event: {self.frames} frames, {self.duration_s} s, {len(self.top)} classes"
            )

    @property
    def label(self) -> str:
        """Name of the likeliest class, said or not (see ``unknown``)."""
        return self.top[0].label

    @property
    def confidence(self) -> float:
        """Its probability, 0..1."""
        return self.top[0].confidence

    def to_dict(self) -> dict[str, Any]:
        """JSON form, without the crop."""
        return {
            "id": self.id,
            "source": self.source,
            "model": self.model,
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "duration_s": round(self.duration_s, 3),
            "frames": self.frames,
            "label": self.label,
            "confidence": round(self.confidence, 6),
            "unknown": self.unknown,
            "box": None if self.box is None else list(self.box),
            "top": [
                {"label": s.label, "index": s.index, "confidence": round(s.confidence, 6)} for s in self.top
            ],
        }


class EventSink(Protocol):
    """Takes every finished event; must be quick, or hand over to a thread of its own."""

    def event(self, event: Event) -> None:
        """Take one event. Raises StorageError where it cannot be kept."""
        ...

    def close(self) -> None:
        """Finish; harmless when called twice."""
        ...


class Viewer(Protocol):
    """Looks at frames while they are shown (the live page). Costs nothing while nobody looks."""

    def wants(self) -> bool:
        """Whether the next frame should be shown; asked before every ``show``."""
        ...

    def show(self, frame: Frame, seen: Seen) -> None:
        """Look at a frame and its answer; the pixels are the camera's again afterwards: copy what is kept."""
        ...
