"""Regions joined over time: greedy matching of predicted to found boxes.

As in SORT (Bewley et al. 2016) the nearest pair is taken first, with constant velocity for the
prediction; by the distance of the centres in units of the larger box, because the box of a small fast
insect need not overlap its last one, which IoU would ask for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from imago.edge_runtime.motion.regions import Region
from imago.edge_runtime.types import Box

REACH = 1.5  # how many box lengths from where it was expected a region may lie
MEMORY = 0.5  # share of a new measurement in velocity and size
MAX_TRACKS = 32


@dataclass(slots=True)
class Track:
    """One moving thing. x, y: centre; width, height: smoothed; velocities in pixels a second (all of the
    small picture). box: its latest region. hits: pictures it was found in.
    """

    number: int
    x: float
    y: float
    width: float
    height: float
    first: float
    last: float
    box: Box
    vx: float = 0.0
    vy: float = 0.0
    hits: int = 1
    travelled: float = field(default=0.0)

    def expected(self, now: float) -> tuple[float, float]:
        """Where its centre should be."""
        ahead = min(now - self.last, 1.0)
        return self.x + self.vx * ahead, self.y + self.vy * ahead

    def move(self, region: Region, now: float) -> None:
        """It was found here."""
        x, y = _centre(region.box)
        elapsed = now - self.last
        if elapsed > 0:
            share = MEMORY if self.hits > 1 else 1.0
            self.vx += share * ((x - self.x) / elapsed - self.vx)
            self.vy += share * ((y - self.y) / elapsed - self.vy)
        self.travelled += math.hypot(x - self.x, y - self.y)
        self.x, self.y, self.last, self.box = x, y, now, region.box
        self.width += MEMORY * (region.box[2] - self.width)
        self.height += MEMORY * (region.box[3] - self.height)
        self.hits += 1


class Tracker:
    """Keeps the tracks of one scene; a bounded number of them."""

    def __init__(self, gap_s: float) -> None:
        self._gap_s = gap_s
        self._numbers = count(1)
        self.tracks: list[Track] = []
        self._looked = 0.0

    def excuse(self, now: float) -> None:
        """Nothing could be seen at ``now``: no track is to be missed for it."""
        for track in self.tracks:
            track.vx = track.vy = 0.0
            track.last += max(0.0, now - max(self._looked, track.last))
        self._looked = now

    def step(self, found: Sequence[Region], now: float) -> list[Track]:
        """Take the regions of one picture; returns the tracks that ended (not found for ``gap_s``)."""
        self._looked = now
        free = set(range(len(found)))
        left = set(range(len(self.tracks)))
        for _, i, j in sorted(self._pairs(found, now)):
            if i in left and j in free:
                left.discard(i)
                free.discard(j)
                self.tracks[i].move(found[j], now)
        for j in sorted(free):
            if len(self.tracks) < MAX_TRACKS:
                self.tracks.append(self._begin(found[j], now))
        ended = [track for track in self.tracks if now - track.last > self._gap_s]
        self.tracks = [track for track in self.tracks if now - track.last <= self._gap_s]
        return ended

    def _pairs(self, found: Sequence[Region], now: float) -> list[tuple[float, int, int]]:
        pairs = []
        for i, track in enumerate(self.tracks):
            x, y = track.expected(now)
            for j, region in enumerate(found):
                rx, ry = _centre(region.box)
                size = max(track.width, track.height, region.box[2], region.box[3])
                distance = min(math.hypot(rx - x, ry - y), math.hypot(rx - track.x, ry - track.y)) / size
                if distance <= REACH:
                    pairs.append((distance, i, j))
        return pairs

    def _begin(self, region: Region, now: float) -> Track:
        x, y = _centre(region.box)
        return Track(
            next(self._numbers), x, y, float(region.box[2]), float(region.box[3]), now, now, region.box
        )

    def drop(self, track: Track) -> None:
        """End a track now."""
        self.tracks = [other for other in self.tracks if other is not track]

    def clear(self) -> list[Track]:
        """End all tracks; returns them."""
        ended, self.tracks = self.tracks, []
        return ended


def _centre(box: Box) -> tuple[float, float]:
    return box[0] + box[2] / 2, box[1] + box[3] / 2
