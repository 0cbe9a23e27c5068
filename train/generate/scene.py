"""What a camera trap sees: a wide scene, empty most of the time, small insects now and then.

Each visit comes in over an edge, walks or flies, mostly sits for a while, and leaves over an edge. Besides
there is what fools a search for motion: a leaf in the wind, clouds that change the light, and a shaken
camera, all at known times.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.files import write_json
from imago.edge_runtime.types import F32, U8
from imago.train.generate.grounds import ground
from imago.train.generate.pen import Pose, Random
from imago.train.generate.photo import DRAWN, developed, draw_insect, expose, place, scatter
from imago.train.generate.video import (
    SENSOR_NOISE,
    STRIDE,
    WINGBEAT,
    check_film,
    visible_individual,
    write_film,
)

WINGED = ("bee", "butterfly", "dragonfly")
MARGIN = 0.6  # of its side: how far outside the frame an insect begins and ends


@dataclass(frozen=True)
class SceneOptions:
    """One scene. size: (width, height). seconds: of each stretch, one visit in each but the ``empty`` first.

    share: insect's side over the frame's shorter side, least and most. gap_s: least time between visits.
    wind: a leaf sways by so many of its lengths (0: none). cloud: how much darker it gets and brighter
    again, as a share. shakes: how often the camera is knocked. kinds: what comes; empty: all.
    """

    size: tuple[int, int] = (960, 540)
    fps: int = 10
    seconds: float = 60
    visits: int = 6
    share: tuple[float, float] = (0.07, 0.14)
    gap_s: float = 3.0
    wind: float = 0.0
    cloud: float = 0.0
    shakes: int = 0
    kinds: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = sorted(set(self.kinds) - set(DRAWN))
        if unknown:
            raise InputError(
                "there is no drawing of '{kind}'; choose one of {kinds}",
                kind=unknown[0],
                kinds=", ".join(DRAWN),
            )
        if self.visits < 0 or self.seconds < (self.visits + 1) * (self.gap_s + 2):
            raise InputError(
                "{visits} visits do not fit into {seconds} s; give at least {least} s",
                visits=self.visits,
                seconds=self.seconds,
                least=(self.visits + 1) * (self.gap_s + 2),
            )


@dataclass(frozen=True)
class _Stage:
    """The empty scene, float32 rgb, a little larger than the frame: a shaken camera looks past its edge."""

    scene: F32
    solid: bool
    light: float
    shakes: tuple[float, ...]


@dataclass(frozen=True)
class _Guest:
    """One visit: points of its way in pixels and the seconds at which it passes them."""

    kind: str
    seed: int
    side: int
    times: tuple[float, ...]
    points: tuple[tuple[float, float], ...]
    pose: Pose


def make_scene(path: Path, options: SceneOptions) -> dict[str, Any]:
    """Write a video (``.avi`` or ``.mp4``) and its truth beside it as ``<stem>.json``; returns the truth.

    ``{"visits": [{"label", "start_s", "end_s", "side"}, …], "shakes": [seconds, …], "options": {…}}``; a
    visit counts from when half of the insect is in the picture. Raises InputError, StorageError.
    """
    check_film(path, options.seconds, options.fps, options.size)
    rng = np.random.default_rng([options.seed, 78])
    stage = _stage(rng, options)
    guests = _guests(rng, options, stage)
    write_film(path, _frames(rng, options, stage, guests), options.fps, options.size)
    truth = {
        "visits": [
            {"label": g.kind, "start_s": round(a, 3), "end_s": round(b, 3), "side": g.side}
            for g in guests
            for a, b in [_inside(g, options)]
        ],
        "shakes": [round(t, 3) for t in stage.shakes],
        "options": asdict(options),
    }
    write_json(path.with_suffix(".json"), truth)
    return truth


def _stage(rng: Random, options: SceneOptions) -> _Stage:
    width, height = options.size
    scene, solid = ground(rng, (height + 16, width + 16))
    light = rng.uniform(0, 2 * math.pi)
    for _ in range(3):
        scatter(rng, scene, light)
    expose(rng, scene)
    np.clip(scene, 20, 235, out=scene)
    shakes = sorted(float(t) for t in rng.uniform(2, options.seconds - 1, options.shakes))
    return _Stage(scene, solid, light, tuple(shakes))


def _guests(rng: Random, options: SceneOptions, stage: _Stage) -> list[_Guest]:
    """Visits one after another, the classes in turn, with the time between them left to chance."""
    light, brightness = stage.light, float(stage.scene.mean())
    if not options.visits:
        return []
    slot = (options.seconds - options.gap_s) / options.visits
    guests, order = [], list[str]()
    for i in range(options.visits):
        order = order or [str(kind) for kind in rng.permutation(options.kinds or list(DRAWN))]
        kind = order.pop()
        begin = options.gap_s + slot * i
        end = begin + slot - options.gap_s
        spare = max(0.0, (end - begin) - 8.0)
        begin += rng.uniform(0, spare)
        stay = min(end - begin, rng.uniform(3.0, 8.0))
        side = round(min(options.size) * rng.uniform(*options.share))
        times, points = _way(rng, options, begin, begin + stay, side)
        pose = Pose(
            light=light, bend=rng.normal(0, 0.06), tilt=rng.uniform(0.85, 1), spread=rng.uniform(0.4, 1)
        )
        guests.append(_Guest(kind, visible_individual(rng, kind, brightness), side, times, points, pose))
    return guests


def _way(
    rng: Random, options: SceneOptions, start: float, end: float, side: int
) -> tuple[tuple[float, ...], tuple[tuple[float, float], ...]]:
    """From beyond one edge over a resting place to beyond another (or the same) edge."""
    width, height = options.size
    rest = (rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * height)

    def outside() -> tuple[float, float]:
        out = side * MARGIN
        along_x, along_y = rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height
        places = ((-out, along_y), (width + out, along_y), (along_x, -out), (along_x, height + out))
        return places[int(rng.integers(4))]

    come, go = sorted(rng.uniform(0.3, 0.7, 2))
    step = (rest[0] + rng.normal(0, 0.3) * side, rest[1] + rng.normal(0, 0.3) * side)
    span = end - start
    return (start, start + come * span, start + go * span, end), (outside(), rest, step, outside())


def _frames(rng: Random, options: SceneOptions, stage: _Stage, guests: list[_Guest]) -> Iterator[U8]:
    leaf = _leaf(rng, options) if options.wind else None
    width, height = options.size
    # One sheet of noise, laid on at another place every time: drawing it anew is half of the work.
    noise = rng.standard_normal((height + 64, width + 64, 3), np.float32) * np.float32(SENSOR_NOISE)
    for index in range(round(options.seconds * options.fps)):
        now = index / options.fps
        x, y = _knock(now, stage.shakes)
        frame = stage.scene[8 + y : 8 + y + height, 8 + x : 8 + x + width].copy()
        if leaf is not None:
            _sway(frame, leaf, options.wind, now)
        for guest in guests:
            if guest.times[0] <= now < guest.times[-1]:
                _draw(frame, guest, now, stage.solid)
        if options.cloud:
            frame *= np.float32(1 - options.cloud * (0.5 - 0.5 * math.cos(2 * math.pi * now / 17)))
        top, left = rng.integers(0, 64, 2)
        frame += noise[top : top + height, left : left + width]
        yield developed(frame)


def _draw(frame: F32, guest: _Guest, now: float, solid: bool) -> None:
    (x, y), heading, moving = _where(guest, now)
    spread = guest.pose.spread
    if guest.kind in WINGED and moving:
        spread = min(1.0, max(0.0, spread + 0.5 * math.sin(WINGBEAT * now)))
    gait = STRIDE * now if moving else 0.0
    pose = replace(guest.pose, heading=heading, gait=gait, spread=spread)
    sprite = draw_insect(guest.kind, np.random.default_rng(guest.seed), guest.side, pose)
    place(frame, sprite, (x, y), guest.pose.light, shadow=0.45 if solid else 0.0)


def _where(guest: _Guest, now: float) -> tuple[tuple[float, float], float, bool]:
    """Place, heading (y up), and whether it moves at that time."""
    leg = max(i for i in range(len(guest.times) - 1) if guest.times[i] <= now)
    (ax, ay), (bx, by) = guest.points[leg], guest.points[leg + 1]
    share = (now - guest.times[leg]) / (guest.times[leg + 1] - guest.times[leg])
    heading = math.atan2(-(by - ay), bx - ax)
    if leg == 1:  # sits: shuffles over in the first fifth, then keeps still
        moving, share = share < 0.2, min(1.0, share / 0.2)
    else:
        moving = True
    return (ax + (bx - ax) * share, ay + (by - ay) * share), heading, moving


def _inside(guest: _Guest, options: SceneOptions) -> tuple[float, float]:
    """First and last time at which the insect's middle is in the picture."""
    width, height = options.size
    times = np.arange(guest.times[0], guest.times[-1], 0.02)
    seen = [t for t in times if 0 <= (p := _where(guest, float(t))[0])[0] < width and 0 <= p[1] < height]
    return float(seen[0]), float(seen[-1])


def _leaf(rng: Random, options: SceneOptions) -> tuple[U8, float, float]:
    """A leaf as an RGBA sprite, and where it hangs."""
    side = round(min(options.size) * 0.22)
    sprite = np.zeros((side, side, 4), np.uint8)
    green = (int(rng.integers(60, 110)), int(rng.integers(110, 160)), int(rng.integers(40, 80)))
    cv2.ellipse(
        sprite, (side // 2, side // 2), (side // 2 - 2, side // 5), 35, 0, 360, (*green, 255), -1, cv2.LINE_AA
    )
    width, height = options.size
    return sprite, rng.uniform(0.1, 0.9) * width, rng.uniform(0.05, 0.2) * height


def _sway(frame: F32, leaf: tuple[U8, float, float], wind: float, now: float) -> None:
    sprite, x, y = leaf
    gust = math.sin(2 * math.pi * 0.7 * now) + 0.4 * math.sin(2 * math.pi * 1.9 * now)
    place(frame, sprite, (x + wind * len(sprite) * gust, y), 0.0, shadow=0.0)


def _knock(now: float, shakes: tuple[float, ...]) -> tuple[int, int]:
    """How far the camera is off, in pixels: each knock dies away within half a second."""
    x = y = 0.0
    for t in shakes:
        if 0 <= now - t < 0.6:
            swing = 7 * math.exp(-(now - t) / 0.2)
            x += swing * math.cos(40 * (now - t))
            y += swing * math.sin(33 * (now - t) + 1)
    return max(-8, min(8, round(x))), max(-8, min(8, round(y)))
