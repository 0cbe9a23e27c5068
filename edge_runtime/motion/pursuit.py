"""Moving regions, classified in full resolution and followed: each track is a visit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from imago.edge_runtime.decide.options import DecisionOptions
from imago.edge_runtime.decide.visit import Smoother, Visit
from imago.edge_runtime.motion.background import Background, Change, shrink
from imago.edge_runtime.motion.options import MotionOptions
from imago.edge_runtime.motion.regions import Region, regions, square
from imago.edge_runtime.motion.tracks import Track, Tracker
from imago.edge_runtime.types import F32, Box, Frame, Prediction, Subject

AT_EDGE = 0.25  # weight of an answer about a subject that is only partly in the picture
FILLS = 0.75  # of the shorter side: a crop as large as this is the whole frame
SWING_S = 0.3  # after being blind: a knocked camera swings on a little
STILL_FIRST_S = 1.0  # before a still difference may be called a hole


@dataclass(frozen=True, slots=True)
class Motion:
    """What moves in one frame. picture: small grey. factor: pixels of the frame per pixel of it.
    blind: nothing can be said. fills: something moves that is about as large as the frame.
    """

    picture: F32
    factor: int
    change: Change | None
    found: tuple[Region, ...] = ()
    blind: bool = False
    fills: bool = False


@dataclass(slots=True)
class Followed:
    """A track and what is known of it. asked: when the model last saw it, and asked_picture how it looked."""

    track: Track
    visit: Visit
    smoother: Smoother
    moved: float
    asked: float = -1.0
    asked_box: Box | None = None
    asked_picture: F32 | None = None
    subject: Subject | None = field(default=None)


class Pursuit:
    """Proposes and follows moving regions of one scene, and asks ``predict`` about their crops.

    ``observe`` finds what moves; ``pursue`` follows it.
    """

    def __init__(
        self,
        predict: Callable[[Frame], Prediction],
        options: MotionOptions,
        decisions: DecisionOptions,
    ) -> None:
        self._predict, self._options, self._decisions = predict, options, decisions
        self._background = Background(options)
        self._tracker = Tracker(options.track_gap_s)
        self._followed: dict[int, Followed] = {}
        self._quiet_until = -1.0
        self.calls = 0

    @property
    def resets(self) -> int:
        """How often the whole scene changed at once."""
        return self._background.resets

    def observe(self, frame: Frame) -> Motion:
        """What moves in this frame; also learns the background."""
        now = frame.time_s
        picture, factor = shrink(frame, self._options.width)
        resets = self._background.resets
        held = [track.box for track in self._tracker.tracks]
        change = self._background.look(picture, now, held)
        if change is None or self._background.resets > resets:
            self._quiet_until = now + self._options.settle_s
        elif change.blind:
            self._quiet_until = max(self._quiet_until, now + SWING_S)
        if change is None:
            return Motion(picture, factor, None, blind=True)
        if change.blind or now < self._quiet_until:
            fills = float(change.mask.mean()) > self._options.global_share
            return Motion(picture, factor, change, blind=True, fills=fills)
        found = tuple(regions(change, self._options))
        sides = (max(region.box[2:]) * self._options.pad for region in found)
        fills = max(sides, default=0.0) >= FILLS * min(picture.shape)
        return Motion(picture, factor, change, found, fills=fills)

    def pursue(self, frame: Frame, motion: Motion, offset: tuple[int, int]) -> list[Visit]:
        """Follow what moves and ask about it; returns the visits that ended.

        offset: left and top of ``frame`` in the camera's picture, for the boxes of visits and subjects.
        """
        now = frame.time_s
        if motion.blind:
            self._tracker.excuse(now)
            return []
        ended = [self._followed.pop(track.number) for track in self._tracker.step(motion.found, now)]
        present = [self._follow(track, now) for track in self._tracker.tracks if track.last == now]
        due = [followed for followed in present if self._due(followed, motion, now)]
        due.sort(key=lambda followed: followed.asked)
        for followed in due[: self._options.max_regions]:
            self._ask(followed, frame, motion, offset)
        return [f.visit for f in [*ended, *self._settled(present, motion, now)]]

    def subjects(self, now: float) -> tuple[Subject, ...]:
        """What is in the picture at ``now``."""
        return tuple(
            f.subject
            for f in self._followed.values()
            if f.subject is not None and f.track.last == now and f.visit.long_enough()
        )

    def finish(self) -> list[Visit]:
        """End all tracks; returns their visits."""
        return [self._followed.pop(track.number).visit for track in self._tracker.clear()]

    def _follow(self, track: Track, now: float) -> Followed:
        followed = self._followed.get(track.number)
        if followed is None:
            followed = Followed(
                track, Visit(now, self._decisions), Smoother(self._decisions.smoothing_s), moved=now
            )
            self._followed[track.number] = followed
        followed.visit.saw(now)
        return followed

    def _due(self, followed: Followed, motion: Motion, now: float) -> bool:
        """Whether it looks different from when it was last asked about, or that was long ago."""
        box, before = followed.asked_box, followed.asked_picture
        if box is None or before is None:
            return True
        same = box == followed.track.box or _overlap(box, followed.track.box) > 0.6
        if same and float(np.abs(_patch(motion.picture, box) - before).mean()) < self._options.floor:
            return now - followed.asked >= self._options.rest_s
        followed.moved = now
        return True

    def _ask(self, followed: Followed, frame: Frame, motion: Motion, offset: tuple[int, int]) -> None:
        box, now = followed.track.box, frame.time_s
        crop = square(box, motion.factor, frame.image.shape, self._options)
        left, top, side, _ = crop
        view = Frame(
            frame.image[top : top + side, left : left + side], frame.color, frame.timestamp_ns, frame.index
        )
        prediction = self._predict(view)
        self.calls += 1
        height, width = motion.picture.shape
        inside = box[0] > 0 and box[1] > 0 and box[0] + box[2] < width and box[1] + box[3] < height
        weight = 1.0 if inside else AT_EDGE
        row = followed.smoother.add(now, prediction.probabilities)
        shown = (left + offset[0], top + offset[1], side, side)
        followed.visit.add(prediction, weight)
        followed.visit.picture(view, shown, prediction, weight)
        followed.subject = followed.visit.subject(row, shown)
        followed.asked, followed.asked_box = now, box
        followed.asked_picture = _patch(motion.picture, box).copy()

    def _settled(self, present: list[Followed], motion: Motion, now: float) -> list[Followed]:
        """What has not moved for long is scenery, and what stays where something left is a hole."""
        ended = []
        for followed in present:
            still = now - followed.moved
            hole = STILL_FIRST_S <= still < STILL_FIRST_S + 1 and self._hole(followed, motion)
            too_long = followed.visit.last - followed.visit.start > self._decisions.max_s
            if hole:
                followed.visit.last = followed.moved  # since then nobody was there
            if hole or still > self._options.still_s:
                self._background.absorb(motion.picture, followed.track.box)
            elif not too_long:
                continue
            self._tracker.drop(followed.track)
            ended.append(self._followed.pop(followed.track.number))
        return ended

    def _hole(self, followed: Followed, motion: Motion) -> bool:
        if motion.change is None:
            return False
        return self._background.uncovered(motion.picture, followed.track.box, motion.change.mask)


def _patch(picture: F32, box: Box) -> F32:
    left, top, width, height = box
    return picture[top : top + height, left : left + width]


def _overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(0, width) * max(0, height)
    return both / (a[2] * a[3] + b[2] * b[3] - both)
