"""A camera stand-in: a video in which insects come to the middle of the picture, one after another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np

from imago.edge_runtime.errors import InputError, StorageError
from imago.edge_runtime.files import replacing, write_json
from imago.edge_runtime.types import F32, U8
from imago.train.generate.grounds import ground
from imago.train.generate.pen import Pose, Random
from imago.train.generate.photo import DRAWN, developed, draw_insect, expose, place, scatter

# Motion JPEG is written and read by OpenCV itself, on every platform; mp4 goes through its FFmpeg.
CODECS = MappingProxyType({".avi": "MJPG", ".mp4": "mp4v"})
VISIT_S = 2.0  # time for one insect, with the empty picture before it
GAP = 0.18  # share of that time in which the picture is empty
TRAVEL = 0.22  # share of the visit spent coming, and again leaving
INSIDE = 0.28  # of the shorter side: from here inwards the insect counts as being in the middle
WINGBEAT = 2 * math.pi * 6
STRIDE = 2 * math.pi * 2.2
CANDIDATES, STANDS_OUT = 12, 40.0
SENSOR_NOISE = 4.0


@dataclass(frozen=True)
class _Visit:
    """One insect's way through the picture: start and end in seconds, where from and where to (angles)."""

    kind: str
    seed: int
    start: float
    end: float
    come: float
    leave: float
    scale: float
    pose: Pose


def make_video(
    path: Path, *, seconds: float = 12, seed: int = 0, fps: int = 15, size: tuple[int, int] = (640, 480)
) -> list[dict[str, Any]]:
    """Write a video (``.avi``, the safe choice, or ``.mp4``) and its truth beside it as ``<stem>.json``.

    size: (width, height). Returns the truth: one ``{"label", "start_s", "end_s"}`` per insect, in order,
    for the time in which it is near the middle, so that the centre square shows it. The classes take
    turns. Raises InputError and, where nothing can be written, StorageError.
    """
    path = Path(path)
    check_film(path, seconds, fps, size)
    rng = np.random.default_rng([seed, 77])
    scene, solid = ground(rng, (size[1], size[0]))
    light = rng.uniform(0, 2 * math.pi)
    scatter(rng, scene, light)
    expose(rng, scene)
    visits = _visits(rng, seconds, light, float(scene.mean()))
    spans: list[list[float]] = [[] for _ in visits]

    def frames() -> Iterator[U8]:
        for index in range(round(seconds * fps)):
            now = index / fps
            frame = scene.copy()
            for visit, span in zip(visits, spans, strict=True):
                if visit.start <= now < visit.end and _show(frame, visit, now, solid):
                    span.append(now)
            yield _sensor(rng, frame)

    write_film(path, frames(), fps, size)
    truth = [
        {"label": visit.kind, "start_s": round(span[0], 3), "end_s": round(span[-1] + 1 / fps, 3)}
        for visit, span in zip(visits, spans, strict=True)
        if span
    ]
    write_json(path.with_suffix(".json"), truth)
    return truth


def write_film(path: Path, frames: Iterable[U8], fps: int, size: tuple[int, int]) -> None:
    """Write frames, rgb uint8 ``(height, width, 3)``, as a video; all or nothing. Raises StorageError."""
    with replacing(path) as temporary:
        writer = cv2.VideoWriter(
            str(temporary), cv2.VideoWriter.fourcc(*CODECS[path.suffix.lower()]), fps, size
        )
        if not writer.isOpened():
            raise StorageError("this OpenCV cannot write {path}; choose a name that ends in .avi", path=path)
        try:
            for frame in frames:
                writer.write(frame[:, :, ::-1])
        finally:
            writer.release()


def check_film(path: Path, seconds: float, fps: int, size: tuple[int, int]) -> None:
    """Raises InputError where such a video cannot be made."""
    if path.suffix.lower() not in CODECS:
        raise InputError("{path} does not end in .avi or .mp4; choose one of these", path=path)
    if not (seconds * fps >= 1 and 1 <= fps <= 120):
        raise InputError(
            "a video of {seconds} s at {fps} pictures a second cannot be made; give at least one picture "
            "and at most 120 a second",
            seconds=seconds,
            fps=fps,
        )
    if min(size) < 64 or max(size) > 4096 or any(side % 2 for side in size):
        raise InputError(
            "a video of {width}×{height} cannot be made; give even sides from 64 to 4096",
            width=size[0],
            height=size[1],
        )


def _visits(rng: Random, seconds: float, light: float, brightness: float) -> list[_Visit]:
    """As many insects as fit, each class once before any comes again; they stand out from the ground."""
    count = max(1, math.floor(seconds / VISIT_S))
    slot = seconds / count
    visits: list[_Visit] = []
    order: list[str] = []
    for i in range(count):
        order = order or [str(kind) for kind in rng.permutation(list(DRAWN))]
        come = rng.uniform(0, 2 * math.pi)
        pose = Pose(
            light=light, bend=rng.normal(0, 0.06), tilt=rng.uniform(0.85, 1), spread=rng.uniform(0.4, 1)
        )
        kind = order.pop()
        visits.append(
            _Visit(
                kind=kind,
                seed=visible_individual(rng, kind, brightness),
                start=slot * (i + GAP),
                end=slot * (i + 1),
                come=come,
                leave=come + math.pi + rng.uniform(-0.9, 0.9),
                scale=rng.uniform(0.72, 0.86),
                pose=pose,
            )
        )
    return visits


def visible_individual(rng: Random, kind: str, brightness: float) -> int:
    """Seed of an individual that stands out from a ground of that brightness (the best of a few)."""
    seeds = [int(seed) for seed in rng.integers(2**31, size=CANDIDATES)]

    def contrast(seed: int) -> float:
        insect = draw_insect(kind, np.random.default_rng(seed), 48, Pose())
        return abs(float(insect[insect[:, :, 3] > 200, :3].mean()) - brightness)

    return next((seed for seed in seeds if contrast(seed) > STANDS_OUT), max(seeds, key=contrast))


def _show(frame: F32, visit: _Visit, now: float, solid: bool) -> bool:
    """Draw the insect where it is at that time (in place); True while it is near the middle."""
    height, width = frame.shape[:2]
    unit = min(height, width)
    side = round(unit * visit.scale)
    x, y, heading = _way(visit, now, (width + side) / 2 / unit, (height + side) / 2 / unit)
    flutter = visit.pose.spread
    if visit.kind in ("bee", "butterfly", "dragonfly"):
        beat = 0.3 if visit.kind == "dragonfly" else 0.5
        flutter = min(1.0, max(0.0, flutter + beat * math.sin(WINGBEAT * now)))
    pose = replace(visit.pose, heading=heading, gait=STRIDE * now, spread=flutter)
    sprite = draw_insect(visit.kind, np.random.default_rng(visit.seed), side, pose)
    centre = (width / 2 + x * unit, height / 2 - y * unit)
    place(frame, sprite, centre, visit.pose.light, shadow=0.45 if solid else 0.0)
    return math.hypot(x, y) <= INSIDE


def _way(visit: _Visit, now: float, far_x: float, far_y: float) -> tuple[float, float, float]:
    """Position (y up, shorter sides from the middle) and heading: in, a slow amble in the middle, out."""
    t = (now - visit.start) / (visit.end - visit.start)
    amble = 0.1
    if t < TRAVEL:
        angle, share = visit.come, 1 - t / TRAVEL
    elif t > 1 - TRAVEL:
        angle, share = visit.leave, (t - 1 + TRAVEL) / TRAVEL
    else:
        share, angle = 0.0, 0.0
    reach = min(far_x / max(abs(math.cos(angle)), 1e-6), far_y / max(abs(math.sin(angle)), 1e-6))
    middle = (min(max(t, TRAVEL), 1 - TRAVEL) - TRAVEL) / (1 - 2 * TRAVEL)
    turn = (visit.leave - visit.come - math.pi) * middle
    edge_x, edge_y = reach * math.cos(angle), reach * math.sin(angle)
    ends = ((math.cos(visit.come), math.sin(visit.come)), (math.cos(visit.leave), math.sin(visit.leave)))
    rest_x, rest_y = (amble * (a * (1 - middle) + b * middle) for a, b in zip(*ends, strict=True))
    heading = visit.come + math.pi + turn + 0.06 * math.sin(STRIDE * now / 2)
    return rest_x + (edge_x - rest_x) * share, rest_y + (edge_y - rest_y) * share, heading


def _sensor(rng: Random, frame: F32) -> U8:
    noise = rng.standard_normal(frame.shape, np.float32)
    noise *= SENSOR_NOISE
    noise += frame
    return developed(noise)
