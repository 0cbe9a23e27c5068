"""A photograph: an insect on a ground, with shadow, clutter, grass in front, light, blur and noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np
from PIL import Image, ImageDraw

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.types import F32, U8
from imago.train.generate.crawlers import draw_ant, draw_bee, draw_beetle, draw_ladybird
from imago.train.generate.flyers import draw_butterfly, draw_dragonfly
from imago.train.generate.grounds import EARTHS, GREENS, SANDS, STONES, Size, ground
from imago.train.generate.parts import BROWNS, DARKS, WARMS, pick
from imago.train.generate.pen import Pen, Pose, Random, oval, random_pose, shade, smooth, vary

DRAWN: Mapping[str, Callable[[Pen, Random], None]] = MappingProxyType(
    {
        "ant": draw_ant,
        "bee": draw_bee,
        "beetle": draw_beetle,
        "butterfly": draw_butterfly,
        "dragonfly": draw_dragonfly,
        "ladybird": draw_ladybird,
    }
)
MARGIN = 0.12  # clutter may lie partly outside


def draw_insect(kind: str, rng: Random, size: int, pose: Pose | None = None) -> U8:
    """One insect on nothing, RGBA uint8 ``(size, size, 4)``, filling the square.

    The individual comes from ``rng``, and so does the pose where none is given: the same seed with
    another pose is the same animal, moved. Raises InputError for a class that nobody has drawn.
    """
    if kind not in DRAWN:
        raise InputError(
            "there is no drawing of '{kind}'; choose one of {kinds}", kind=kind, kinds=", ".join(DRAWN)
        )
    pen = Pen(pose or random_pose(rng), size)
    DRAWN[kind](pen, rng)
    return pen.finish()


def draw_photo(kind: str, rng: Random, size: int) -> U8:
    """A photograph of one insect, RGB uint8 ``(size, size, 3)``. Raises InputError as draw_insect does."""
    picture, solid = ground(rng, (size, size))
    pose = random_pose(rng)
    if rng.random() < 0.35:
        scatter(rng, picture, pose.light)
    sprite = draw_insect(kind, rng, round(size * rng.uniform(0.8, 1.12)), pose)
    set_apart(rng, picture, sprite)
    room = max(0.0, size - len(sprite)) / 2 + 0.04 * size
    x, y = (size / 2 + rng.uniform(-room, room) for _ in range(2))
    place(picture, sprite, (x, y), pose.light, shadow=rng.uniform(0.25, 0.6) if solid else 0.0)
    if rng.random() < 0.25:
        grass(rng, picture)
    expose(rng, picture)
    return camera(rng, picture)


def draw_empty(rng: Random, size: int) -> U8:
    """A photograph of no insect, RGB uint8 ``(size, size, 3)``: ground, clutter and grass, near or far.

    What a model has to see in training to know that nothing is there.
    """
    whole = round(size * rng.uniform(1, 3))
    picture, _ = ground(rng, (whole, whole))
    light = rng.uniform(0, 2 * math.pi)
    for _ in range(int(rng.integers(0, 3))):
        scatter(rng, picture, light)
    if rng.random() < 0.3:
        grass(rng, picture)
    expose(rng, picture)
    left, top = rng.integers(0, whole - size + 1, 2)
    return camera(rng, np.ascontiguousarray(picture[top : top + size, left : left + size]))


def set_apart(rng: Random, picture: F32, sprite: U8) -> None:
    """Lighten or darken the ground (in place) where the insect would vanish on it.

    Hidden insects exist, but nobody takes their photograph.
    """
    solid = sprite[sprite[:, :, 3] > 200]
    insect, here = float(solid[:, :3].mean()), float(picture.mean())
    wanted = rng.uniform(35, 70)
    if abs(here - insect) < wanted:
        goal = insect + wanted if insect < 110 else insect - wanted
        picture *= np.float32(goal / max(here, 1.0))


def place(picture: F32, sprite: U8, centre: tuple[float, float], light: float, shadow: float = 0.45) -> None:
    """Lay an RGBA sprite onto the picture (in place), cut at its edges, with a soft shadow of that depth."""
    side = len(sprite)
    left, top = round(centre[0] - side / 2), round(centre[1] - side / 2)
    if shadow > 0:
        blur = side * 0.035
        dark = cv2.GaussianBlur(sprite[:, :, 3], (0, 0), blur).astype(np.float32) * (shadow / 255)
        drop = side * 0.05
        window, patch = _overlap(
            picture, dark, left - round(drop * math.cos(light)), top + round(drop * math.sin(light))
        )
        window *= 1 - patch[:, :, None]
    window, part = _overlap(picture, sprite, left, top)
    alpha = part[:, :, 3:].astype(np.float32) / 255
    window += (part[:, :, :3] - window) * alpha


def _overlap(picture: F32, patch: U8 | F32, left: int, top: int) -> tuple[F32, U8 | F32]:
    """The part of the picture under the patch and the part of the patch over the picture (views)."""
    bottom, right = min(len(picture), top + len(patch)), min(picture.shape[1], left + patch.shape[1])
    up, start = max(0, top), max(0, left)
    bottom, right = max(bottom, up), max(right, start)
    return picture[up:bottom, start:right], patch[up - top : bottom - top, start - left : right - left]


def _canvas(size: Size) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    sheet = Image.new("RGBA", (size[1] * 2, size[0] * 2))
    return sheet, ImageDraw.Draw(sheet)


def _lay(picture: F32, sheet: Image.Image) -> None:
    part = np.asarray(sheet.reduce(2))
    picture += (part[:, :, :3] - picture) * (part[:, :, 3:].astype(np.float32) / 255)


def scatter(rng: Random, picture: F32, light: float) -> None:
    """Pebbles, seeds and fallen leaves (in place): round and dark things that are no insects."""
    height, width = picture.shape[:2]
    sheet, draw = _canvas((height, width))
    unit = min(height, width) * 2
    glint = np.array([math.cos(light), -math.sin(light)])
    for _ in range(int(rng.integers(1, 5))):
        at = rng.uniform(-MARGIN, 1 + MARGIN, 2) * (width * 2, height * 2)
        angle, size = rng.uniform(0, math.pi), unit * rng.uniform(0.05, 0.15)
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        if rng.random() < 0.6:
            colour = vary(rng, pick(rng, (*STONES, *BROWNS, *DARKS, *WARMS)))
            shape = oval(0, 0, size, size * rng.uniform(0.5, 0.95), egg=rng.uniform(-0.2, 0.2)) @ turn
            for grow, tone in ((1.0, -0.45), (0.85, -0.1), (0.5, 0.1)):
                ring = at + shape * grow + glint * size * 0.3 * (1 - grow)
                draw.polygon(ring.ravel().tolist(), (*shade(colour, tone), 255))
        else:
            colour = vary(rng, pick(rng, (*GREENS, *EARTHS, *WARMS[1:3])))
            leaf = (
                size
                * 1.8
                * (smooth(((-1, 0), (-0.3, 0.34), (0.4, 0.26), (1, 0), (0.4, -0.26), (-0.3, -0.34))) @ turn)
            )
            draw.polygon((at + leaf).ravel().tolist(), (*colour, 255))
            draw.line((at + leaf[[0, 12]]).ravel().tolist(), (*shade(colour, -0.25), 255), max(1, unit // 90))
    _lay(picture, sheet)


def grass(rng: Random, picture: F32) -> None:
    """A few blades between camera and insect (in place)."""
    height, width = picture.shape[:2]
    sheet, draw = _canvas((height, width))
    unit = min(height, width) * 2
    for _ in range(int(rng.integers(1, 4))):
        colour = vary(rng, pick(rng, (*GREENS, SANDS[0])))
        x, thick = rng.uniform(0, width * 2), unit * rng.uniform(0.012, 0.035)
        lean, curve = rng.normal(0, 0.35), rng.normal(0, 0.15)
        tip = rng.uniform(0.4, 1.0)
        t = np.linspace(0, 1, 9)
        y = height * 2 * (1 - 1.05 * t * tip)
        middle = x + unit * (lean * t + curve * t * t)
        half = thick * (1 - t**2)
        outline = np.concatenate([np.stack([middle - half, y], 1), np.stack([middle + half, y], 1)[::-1]])
        if rng.random() < 0.5:
            outline = outline[:, ::-1] * (width / height, height / width)
        draw.polygon(outline.ravel().tolist(), (*colour, 255))
    _lay(picture, sheet)


def expose(rng: Random, picture: F32) -> None:
    """Light from one side, its colour, exposure and contrast (in place)."""
    height, width = picture.shape[:2]
    slope = rng.normal(0, 0.16, 2)
    x = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(slope[0])
    y = np.linspace(-1, 1, height, dtype=np.float32) * np.float32(slope[1])
    warm = rng.normal(0, 0.06)
    tint = np.array([1 + warm, 1 + rng.normal(0, 0.02), 1 - warm], np.float32) * np.float32(
        2 ** np.clip(rng.normal(-0.05, 0.26), -0.6, 0.45)
    )
    picture *= (1 + x + y[:, None])[:, :, None]
    picture *= tint
    contrast = np.float32(rng.uniform(0.7, 1.2))
    picture -= 118
    picture *= contrast
    picture += 118


def camera(rng: Random, picture: F32) -> U8:
    """What lens and sensor make of it: defocus or shake, then noise; uint8 of the same shape."""
    unit = min(picture.shape[:2])
    fault = rng.random()
    if fault < 0.35:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), unit * rng.uniform(0.004, 0.011)), np.float32)
    elif fault < 0.5:
        kernel = _shake(rng, max(3, round(unit * rng.uniform(0.02, 0.045))))
        picture = np.asarray(cv2.filter2D(picture, -1, kernel), np.float32)
    noise = rng.standard_normal(picture.shape, np.float32)
    noise *= np.float32(rng.uniform(1, 7))
    noise += picture
    return developed(noise)


def _shake(rng: Random, length: int) -> F32:
    kernel = np.zeros((length, length), np.float32)
    angle, half = rng.uniform(0, math.pi), (length - 1) / 2
    for t in np.linspace(-half, half, 2 * length):
        kernel[round(half + t * math.sin(angle)), round(half + t * math.cos(angle))] = 1
    return kernel / np.float32(kernel.sum())


def developed(picture: F32) -> U8:
    """Clipped to uint8."""
    return np.asarray(np.clip(picture, 0, 255), np.uint8)
