"""With what means a training is done: none of it belongs to the run, and none of it changes its result."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from imago.train.data.cache import QUOTA_BYTES
from imago.train.device import Place
from imago.train.profiling import NO_CLOCK, Clock, Stopwatch
from imago.train.team import SOLO, Team


@dataclass(frozen=True, slots=True)
class Means:
    """team: the processes that train together. clock: measures where time goes. cache_quota: bytes that the
    picture cache may take; a split that does not fit is decoded anew in every epoch."""

    team: Team = field(default=SOLO)
    clock: Clock = field(default=NO_CLOCK)
    cache_quota: int = QUOTA_BYTES

    def started(self, place: Place) -> None:
        """The device is known: the clock has to wait for an accelerator."""
        if isinstance(self.clock, Stopwatch):
            self.clock.device = place.device

    def ended(self, folder: Path) -> None:
        """Keep what was measured, also of a run that was interrupted."""
        if isinstance(self.clock, Stopwatch) and self.team.chief and folder.is_dir():
            self.clock.save(folder)
