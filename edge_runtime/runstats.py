"""What happened in a run, or so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from imago.edge_runtime.stats import Percentiles


@dataclass(frozen=True, slots=True)
class RunStats:
    """captured, processed, dropped: frames that came, were looked at, and were replaced by newer ones.

    idle: of those looked at, in how many nothing moved, so that the model was not asked. calls: how often it
    was (with several regions in a frame, several times). latency: preprocessing and engine, and the search
    for motion, of frames that the model was asked about; age: from taking the picture to its answer.
    events, events_lost, events_stripped: visits reported; that a sink could not keep; that went without
    their picture. failures, stalls, reopened, downtime_s: of the camera; stalls are the failures by silence.
    resets: how often light or camera changed the whole scene.
    """

    captured: int
    processed: int
    dropped: int
    seconds: float
    stopped_by: str
    latency: Percentiles | None
    age: Percentiles | None
    idle: int = 0
    calls: int = 0
    events: int = 0
    events_lost: int = 0
    events_stripped: int = 0
    failures: int = 0
    stalls: int = 0
    reopened: int = 0
    downtime_s: float = 0.0
    resets: int = 0

    @property
    def fps(self) -> float:
        """Frames looked at per second."""
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
            "idle": self.idle,
            "calls": self.calls,
            "events": {"count": self.events, "lost": self.events_lost, "stripped": self.events_stripped},
            "camera": {
                "failures": self.failures,
                "stalls": self.stalls,
                "reopened": self.reopened,
                "downtime_s": round(self.downtime_s, 3),
                "resets": self.resets,
            },
        }
