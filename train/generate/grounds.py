"""What insects sit on: leaf, bark, soil, sand, petals, sky, gravel, wood, meadow.

Every ground is float32 ``(height, width, 3)``, RGB in 0..255, of any size.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from imago.edge_runtime.types import F32
from imago.train.generate.pen import Colour, Random, shade, vary

Size = tuple[int, int]  # height, width
GREENS: tuple[Colour, ...] = ((70, 118, 44), (96, 142, 58), (52, 92, 46), (126, 152, 74), (110, 116, 58))
EARTHS: tuple[Colour, ...] = ((92, 68, 48), (120, 94, 66), (66, 52, 42), (140, 116, 88))
STONES: tuple[Colour, ...] = ((140, 136, 128), (112, 106, 102), (164, 152, 132), (92, 92, 98), (120, 92, 74))
SANDS: tuple[Colour, ...] = ((204, 182, 142), (186, 164, 128), (220, 204, 172), (176, 138, 100))
PETALS: tuple[Colour, ...] = (
    (226, 206, 74),
    (222, 150, 178),
    (236, 232, 226),
    (160, 110, 190),
    (214, 92, 60),
)
SKIES: tuple[Colour, ...] = ((150, 186, 224), (186, 204, 220), (206, 210, 214), (122, 160, 206))


def _choose(rng: Random, colours: tuple[Colour, ...]) -> Colour:
    return vary(rng, colours[int(rng.integers(len(colours)))], 12)


def clouds(rng: Random, size: Size, cells: float) -> F32:
    """Smooth noise with mean 0 and deviation of about 1, ``cells`` blobs from top to bottom."""
    rows = max(2, round(cells))
    columns = max(2, round(cells * size[1] / size[0]))
    coarse = rng.standard_normal((rows + 1, columns + 1), np.float32)
    fine = cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(fine, np.float32)


def _grain(rng: Random, size: Size, cells: float, octaves: int = 3) -> F32:
    total = clouds(rng, size, cells)
    for octave in range(1, octaves):
        total += clouds(rng, size, min(size[0], cells * 3**octave)) * 0.6**octave
    return total


def _paint(colour: Colour, relief: npt.NDArray[Any]) -> F32:
    """The colour times 1 + relief."""
    return np.array(colour, np.float32) * (1 + relief.astype(np.float32, copy=False))[:, :, None]


def _axes(rng: Random, size: Size) -> tuple[F32, F32]:
    """Coordinates in -1..1 over the shorter side, turned by any angle and moved a little."""
    scale = min(size) / 2
    y, x = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
    x, y = (x - size[1] / 2) / scale, (y - size[0] / 2) / scale
    angle = rng.uniform(0, 2 * math.pi)
    c, s = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return x * c + y * s + np.float32(rng.normal(0, 0.3)), y * c - x * s + np.float32(rng.normal(0, 0.3))


def _leaf(rng: Random, size: Size) -> F32:
    along, across = _axes(rng, size)
    distance = np.abs(across)
    slant, step = rng.uniform(0.6, 1.2), rng.uniform(0.35, 0.6)
    phase = ((along - slant * distance) / step) % 1
    vein = np.abs(phase - 0.5) * step
    relief = 0.1 * _grain(rng, size, 3) + 0.12 * (phase - 0.5)
    picture = _paint(_choose(rng, GREENS), relief)
    pale = np.maximum(np.exp(-((distance / 0.035) ** 2)), 0.55 * np.exp(-((vein / 0.022) ** 2)))
    veined: F32 = picture + pale[:, :, None] * np.array((38, 42, 22), np.float32)
    return veined


def _striped(rng: Random, size: Size, colour: Colour, *, depth: float, cells: float, bend: float) -> F32:
    """Long fibres along one direction: wood, bark."""
    along, across = _axes(rng, size)
    warp = across * cells + bend * clouds(rng, size, 2) + 0.3 * along
    fibre = np.sin(warp * 3.1) + 0.6 * np.sin(warp * 7.3 + 1.3 * np.sin(along * 2))
    return _paint(colour, depth * fibre + 0.09 * _grain(rng, size, 8))


def _wood(rng: Random, size: Size) -> F32:
    colour = _choose(rng, ((178, 134, 86), (140, 100, 62), (196, 164, 118), (124, 112, 100)))
    return _striped(rng, size, colour, depth=0.08, cells=rng.uniform(2, 5), bend=0.35)


def _bark(rng: Random, size: Size) -> F32:
    colour = _choose(rng, ((98, 80, 62), (122, 106, 90), (74, 58, 46), (150, 140, 124)))
    return _striped(rng, size, colour, depth=0.2, cells=rng.uniform(3, 6), bend=0.7)


def _soil(rng: Random, size: Size) -> F32:
    relief = _grain(rng, size, rng.uniform(5, 12), 4)
    lit = relief - np.roll(relief, (1, 1), (0, 1))
    return _paint(_choose(rng, EARTHS), np.clip(0.13 * relief + 0.16 * lit, -0.7, 0.9))


def _sand(rng: Random, size: Size) -> F32:
    _, across = _axes(rng, size)
    ripples = np.sin(across * rng.uniform(4, 12) + clouds(rng, size, 3)) * rng.uniform(0, 0.07)
    grains = clouds(rng, size, min(90, size[0]))
    return _paint(_choose(rng, SANDS), ripples + 0.07 * grains + 0.04 * clouds(rng, size, 4))


def _petals(rng: Random, size: Size) -> F32:
    along, across = _axes(rng, size)
    angle, far = np.arctan2(across, along), np.hypot(along, across)
    count = int(rng.integers(5, 14))
    petal = np.cos(angle * count + 1.5 * np.sin(far * 2))
    streaks = np.sin(angle * count * 6 + clouds(rng, size, 4))
    picture = _paint(_choose(rng, PETALS), 0.13 * petal + 0.05 * streaks + 0.05 * clouds(rng, size, 3))
    heart = np.clip((rng.uniform(0.1, 0.5) - far) * 8, 0, 1)[:, :, None].astype(np.float32)
    centre = _paint(
        _choose(rng, ((206, 160, 40), (96, 70, 36), (150, 168, 70))), 0.22 * clouds(rng, size, 30)
    )
    mixed: F32 = picture * (1 - heart) + centre * heart
    return mixed


def _sky(rng: Random, size: Size) -> F32:
    _, across = _axes(rng, size)
    haze: F32 = np.clip(0.4 + 0.25 * across + 0.28 * _grain(rng, size, 2), 0, 1)[:, :, None]
    top, low = np.array(_choose(rng, SKIES), np.float32), np.array(_choose(rng, SKIES[1:3]), np.float32)
    sky: F32 = top * (1 - haze) + low * haze
    return sky


def _meadow(rng: Random, size: Size) -> F32:
    """Far grass, out of focus: green and straw blobs, as behind an insect on a stalk."""
    share = np.clip(0.5 + 0.45 * clouds(rng, size, 3), 0, 1)[:, :, None]
    a = np.array(_choose(rng, GREENS), np.float32)
    b = np.array(_choose(rng, (*GREENS, *PETALS[:2], *SANDS[:1], *EARTHS)), np.float32)
    picture: F32 = (a * (1 - share) + b * share) * (1 + 0.12 * clouds(rng, size, 7))[:, :, None]
    return picture


def _gravel(rng: Random, size: Size) -> F32:
    """Lit pebbles, larger ones on top of smaller ones, at twice the size and halved."""
    height, width = size[0] * 2, size[1] * 2
    sheet = Image.new("RGB", (width, height), shade(_choose(rng, EARTHS), -0.4))
    draw = ImageDraw.Draw(sheet)
    unit = min(height, width)
    tones = [_choose(rng, STONES) for _ in range(5)]
    count = round(110 * width * height / unit**2)
    spots = rng.uniform(0, 1, (count, 5))
    for i, (x, y, radius, flat, tone) in enumerate(spots.tolist()):
        r = unit * (0.025 + 0.05 * radius + 0.02 * i / count)
        rx, ry = r * (0.8 + 0.5 * flat), r * (1.3 - 0.5 * flat)
        cx, cy, colour = x * width, y * height, shade(tones[i % 5], 0.3 * tone - 0.15)
        draw.ellipse((cx - rx, cy - ry, cx + rx, cy + ry), shade(colour, -0.45))
        draw.ellipse((cx - rx, cy - ry, cx + rx * 0.8, cy + ry * 0.8), colour)
        draw.ellipse((cx - rx * 0.7, cy - ry * 0.7, cx, cy), shade(colour, 0.14))
    pebbles: F32 = np.asarray(sheet.reduce(2)).astype(np.float32)
    return pebbles * (1 + 0.06 * clouds(rng, size, min(60, size[0])))[:, :, None]


GROUNDS = (_leaf, _leaf, _bark, _soil, _sand, _petals, _sky, _meadow, _gravel, _wood)
SOFT = (_sky, _meadow)


def ground(rng: Random, size: Size) -> tuple[F32, bool]:
    """Any ground, and whether it is near enough to take the insect's shadow."""
    make = GROUNDS[int(rng.integers(len(GROUNDS)))]
    picture = make(rng, size)
    if rng.random() < 0.6:  # depth of field: the ground is a little behind
        blur = min(size) * rng.uniform(0.006, 0.03)
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), blur), np.float32)
    calm = np.float32(rng.uniform(0.35, 0.85))
    picture -= (1 - calm) * (picture - picture.mean((0, 1)))
    return picture, make not in SOFT
