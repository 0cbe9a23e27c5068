"""Ant, bee, beetle and ladybird, seen from above."""

from __future__ import annotations

import math

from imago.train.generate.parts import (
    BROWNS,
    DARKS,
    METALS,
    SIDES,
    WARMS,
    Wing,
    antennae,
    band,
    fur,
    glass_wing,
    legs,
    pick,
)
from imago.train.generate.pen import Colour, Pen, Random, mix, oval, shade, vary

CREAM: Colour = (236, 228, 200)
HONEY: Colour = (214, 154, 52)


def draw_ant(pen: Pen, rng: Random) -> None:
    """Head, thorax and gaster with a thin waist between; elbowed antennae, long legs."""
    colour = vary(rng, pick(rng, (*DARKS, *BROWNS, *WARMS[:2], (150, 80, 34))))
    hind = vary(rng, pick(rng, DARKS)) if rng.random() < 0.4 else colour
    dark, gloss = mix(colour, (16, 12, 10), 0.45), rng.uniform(0.1, 0.7)
    fat, long = rng.uniform(0.85, 1.25), rng.uniform(0.9, 1.1)
    legs(
        pen, rng, roots=(0.22, 0.1, 0.0), root_y=0.05, reach=rng.uniform(0.68, 0.88), width=0.035, colour=dark
    )
    antennae(
        pen, rng, root=(0.55, 0.07), joints=((0.12, 0.2), (0.28, 0.19), (0.4, 0.12)), width=0.028, colour=dark
    )
    for side in SIDES:
        jaw = [(0.58, side * 0.08), (0.7, side * 0.07), (0.72, side * 0.01), (0.62, side * 0.02)]
        pen.line(jaw, 0.035, dark)
    pen.dome(oval(-0.53 * long, 0, 0.29 * long, 0.2 * fat, egg=0.08), hind, gloss)
    for start in (-0.55, -0.1, 0.35):
        edge = band(-0.53 * long, 0.28 * long, 0.19 * fat, start, start + 0.02, egg=0.08)
        pen.line(edge[4:6], 0.014, shade(hind, -0.45))
    pen.line([(-0.28, 0), (0.02, 0)], 0.05, dark)
    pen.dome(oval(-0.2, 0, 0.055, 0.065), colour, 0)
    pen.dome(oval(0.02, 0, 0.16, 0.085, egg=0.2), colour, gloss * 0.5)
    pen.dome(oval(0.2, 0, 0.12, 0.115), colour, gloss * 0.7)
    big = rng.uniform(0.9, 1.2)
    pen.dome(oval(0.46, 0, 0.16 * big, 0.155 * big, egg=-0.18, square=0.85), colour, gloss)
    for side in SIDES:
        pen.polygon(oval(0.49, side * 0.125 * big, 0.035, 0.025), (14, 12, 12))


def _bee_coat(rng: Random) -> tuple[Colour, Colour, Colour, float]:
    """Colours of thorax, light and dark stripes, and how furry: honey, bumble, carpenter, sweat, red bees."""
    dark = vary(rng, pick(rng, DARKS))
    coats: tuple[tuple[Colour, Colour, Colour, float], ...] = (
        ((140, 102, 54), HONEY, dark, 0.05),
        ((104, 76, 44), (176, 116, 56), dark, 0.05),
        ((226, 178, 48), (232, 190, 56), dark, 0.09),
        (dark, pick(rng, (CREAM, WARMS[1], HONEY)), dark, 0.09),
        (dark, mix(dark, (92, 92, 112), 0.4), dark, 0.05),
        (pick(rng, METALS), (206, 186, 96), dark, 0.03),
        ((150, 78, 36), (186, 108, 52), (96, 52, 30), 0.08),
    )
    thorax, light, dark, hair = coats[int(rng.integers(len(coats)))]
    return vary(rng, thorax), vary(rng, light), dark, hair


def draw_bee(pen: Pen, rng: Random) -> None:
    """Furry thorax, striped abdomen, two pairs of glassy wings, bent antennae."""
    thorax, light, dark, hair = _bee_coat(rng)
    stout = rng.uniform(0.85, 1.2)
    rx, ry = rng.uniform(0.36, 0.44), 0.25 * stout
    legs(
        pen, rng, roots=(0.3, 0.18, 0.05), root_y=0.14, reach=rng.uniform(0.42, 0.58), width=0.05, colour=dark
    )
    antennae(pen, rng, root=(0.56, 0.06), joints=((0.09, 0.08), (0.24, 0.12)), width=0.032, colour=dark)
    x = 0.04 - rx
    pen.dome(oval(x, 0, rx, ry, egg=0.12), light, 0.1)
    count = int(rng.integers(3, 6))
    for i in range(count):
        start = -1 + 2 * i / count
        stripe = band(x, rx, ry, start, start + rng.uniform(0.8, 1.3) / count, egg=0.12)
        pen.polygon(fur(rng, stripe, 0.015), dark)
    pen.polygon(fur(rng, oval(0.2, 0, 0.24, 0.24 * stout), hair), shade(thorax, -0.35))
    pen.polygon(fur(rng, oval(0.2, 0, 0.2, 0.2 * stout), hair), thorax)
    pen.polygon(fur(rng, oval(0.21, 0.01, 0.12, 0.12 * stout), hair), shade(thorax, 0.15))
    if rng.random() < 0.5:
        pen.polygon(oval(0.2, 0, 0.09, 0.1), shade(dark, 0.06))
    pen.dome(oval(0.49, 0, 0.11, 0.17, egg=-0.1), mix(dark, thorax, 0.3), 0.1)
    for side in SIDES:
        pen.dome(oval(0.49, side * 0.13, 0.085, 0.05), (34, 26, 24), 0.5)
    open_ = 0.25 + 0.75 * pen.pose.spread
    tint, alpha = (
        vary(rng, pick(rng, ((206, 204, 200), (176, 150, 116), (120, 104, 96)))),
        int(rng.integers(85, 160)),
    )
    with pen.layer():
        for side in SIDES:
            jitter = rng.normal(0, 0.07)
            hind = Wing((0.14, 0.13), 2.85 - 0.9 * open_ + jitter, rng.uniform(0.5, 0.58), 0.72, veins=2)
            fore = Wing((0.24, 0.14), 2.72 - 1.15 * open_ + jitter, rng.uniform(0.72, 0.82), 0.88)
            glass_wing(pen, side, hind, tint, alpha)
            glass_wing(pen, side, fore, tint, alpha)


def draw_beetle(pen: Pen, rng: Random) -> None:
    """Hard wing cases with a seam down the middle, a broad neck shield, often metallic."""
    colour = vary(rng, pick(rng, (*METALS, *METALS, *BROWNS, *DARKS, *WARMS)))
    shield = colour if rng.random() < 0.6 else vary(rng, pick(rng, (*DARKS, *BROWNS, *WARMS)))
    dark, gloss = mix(colour, (14, 12, 14), 0.7), rng.uniform(0.15, 0.95)
    wide, long = rng.uniform(0.24, 0.38), rng.uniform(0.46, 0.56)
    legs(
        pen,
        rng,
        roots=(0.36, 0.12, -0.12),
        root_y=wide * 0.7,
        reach=rng.uniform(0.45, 0.62),
        width=0.055,
        colour=dark,
    )
    _beetle_head(pen, rng, dark, gloss)
    pen.dome(oval(0.38, 0, 0.17, wide * rng.uniform(0.72, 0.9), egg=-0.22, square=0.75), shield, gloss * 0.8)
    x = 0.28 - long
    case = oval(x, 0, long, wide, egg=rng.uniform(-0.05, 0.12), square=0.85)
    pen.dome(case, colour, gloss)
    pattern = rng.random()
    if pattern < 0.4:
        for groove in (0.25, 0.5, 0.75):
            for side in SIDES:
                pen.line([(x + 0.85 * long * u, side * wide * groove * math.sqrt(1 - 0.72 * u * u)) for u in
                          (-0.95, -0.5, 0, 0.5, 0.9)], 0.012, shade(colour, -0.4))  # fmt: skip
    elif pattern < 0.6:
        mark = vary(rng, pick(rng, (*DARKS, *WARMS, CREAM)))
        for u in rng.uniform(-0.6, 0.6, int(rng.integers(1, 4))):
            for side in SIDES:
                pen.polygon(oval(x + u * long, side * wide * 0.48, 0.08, wide * 0.3), mark)
    pen.line([(x - long, 0), (x + long * 0.96, 0)], 0.022, shade(colour, -0.65))
    pen.polygon(oval(x + long * 0.93, 0, 0.06, 0.05), dark)


def _beetle_head(pen: Pen, rng: Random, dark: Colour, gloss: float) -> None:
    kind = rng.random()
    joints: tuple[tuple[float, float], ...]
    if kind < 0.2:  # longhorn
        joints, width = ((0.14, 0.22), (0.02, 0.5), (-0.35, 0.72)), 0.03
    elif kind < 0.6:
        joints, width = ((0.1, 0.13), (0.2, 0.3)), 0.032
    else:
        joints, width = ((0.07, 0.1), (0.12, 0.17)), 0.045
    antennae(pen, rng, root=(0.6, 0.07), joints=joints, width=width, colour=dark)
    if 0.6 < kind < 0.75:  # stag
        for side in SIDES:
            pen.line([(0.64, side * 0.07), (0.8, side * 0.17), (0.93, side * 0.06)], 0.055, shade(dark, 0.08))
    pen.dome(oval(0.57, 0, 0.12, 0.14), shade(dark, 0.06), gloss * 0.6)
    for side in SIDES:
        pen.polygon(oval(0.6, side * 0.125, 0.04, 0.035), (10, 10, 10))


def draw_ladybird(pen: Pen, rng: Random) -> None:
    """A round spotted dome, a dark shield with pale corners, a small head, short legs."""
    if rng.random() < 0.68:
        colour, mark = (
            vary(rng, pick(rng, (*WARMS, *WARMS, (176, 96, 50), (120, 50, 34)))),
            vary(rng, DARKS[0], 8),
        )
    else:
        colour, mark = vary(rng, pick(rng, (*DARKS, *BROWNS[:3]))), vary(rng, pick(rng, (*WARMS, CREAM)))
    dark, gloss = vary(rng, DARKS[0], 6), rng.uniform(0.3, 1.0)
    long, wide = rng.uniform(0.53, 0.6), rng.uniform(0.46, 0.54)
    legs(
        pen,
        rng,
        roots=(0.26, 0.05, -0.15),
        root_y=wide * 0.6,
        reach=rng.uniform(0.34, 0.48),
        width=0.05,
        colour=dark,
    )
    antennae(
        pen, rng, root=(0.66, 0.07), joints=((0.07, 0.08), (0.11, 0.13)), width=0.03, colour=dark, club=0.02
    )
    pen.dome(oval(0.6, 0, 0.12, 0.17), dark, 0.2)
    pen.dome(oval(0.46, 0, 0.15, wide * 0.68, egg=-0.12), dark, gloss * 0.3)
    pale = vary(rng, CREAM, 8)
    for side in SIDES:
        pen.polygon(oval(0.49, side * wide * 0.46, 0.07, wide * 0.11), pale)
        pen.polygon(oval(0.65, side * 0.08, 0.022, 0.022), pale)
    x = 0.4 - long
    pen.dome(oval(x, 0, long, wide, egg=0.03), colour, 0)
    _ladybird_spots(pen, rng, mark, x=x, long=long, wide=wide)
    pen.line([(x - long, 0), (x + long, 0)], 0.02, shade(colour, -0.6))
    pen.gleam(x, 0, wide, gloss)


def _ladybird_spots(pen: Pen, rng: Random, mark: Colour, *, x: float, long: float, wide: float) -> None:
    rows = ((0.62,), (0.45, -0.35), (0.6, 0.05, -0.5), (0.62, 0.2, -0.2, -0.6))[int(rng.integers(4))]
    radius = rng.uniform(0.075, 0.14) / (1 + 0.12 * len(rows)) + 0.01
    if rng.random() < 0.5:
        pen.polygon(oval(x + long * 0.82, 0, radius, radius * 1.1), mark)
    for row, u in enumerate(rows):
        columns = (0.42,) if len(rows) < 3 or row % 2 else (0.28, 0.7)
        for v in columns:
            half = wide * math.sqrt(max(0.0, 1 - u * u))
            for side in SIDES:
                pen.polygon(oval(x + u * long, side * v * half, radius, radius * 0.9), mark)
