"""Butterfly and dragonfly, seen from above."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imago.train.generate.parts import (
    BROWNS,
    DARKS,
    METALS,
    SIDES,
    WARMS,
    Wing,
    antennae,
    band,
    glass_wing,
    legs,
    pick,
)
from imago.train.generate.pen import Colour, Pen, Points, Random, mix, oval, shade, smooth, vary

Corners = Sequence[tuple[float, float]]
FOREWINGS: tuple[Corners, ...] = (
    ((0.2, 0.03), (0.48, 0.35), (0.66, 0.78), (0.6, 0.95), (0.38, 0.86), (0.1, 0.62), (0.02, 0.3)),
    ((0.2, 0.03), (0.46, 0.4), (0.5, 0.8), (0.36, 0.92), (0.14, 0.78), (0.02, 0.55), (0.03, 0.25)),
    ((0.2, 0.03), (0.56, 0.3), (0.82, 0.66), (0.8, 0.84), (0.46, 0.76), (0.16, 0.6), (0.02, 0.3)),
)
HINDWINGS: tuple[Corners, ...] = (
    ((0.08, 0.03), (0.06, 0.4), (-0.06, 0.66), (-0.34, 0.72), (-0.56, 0.5), (-0.56, 0.2), (-0.25, 0.04)),
    ((0.08, 0.03), (0.08, 0.5), (-0.12, 0.74), (-0.4, 0.66), (-0.5, 0.4), (-0.42, 0.14), (-0.2, 0.04)),
    ((0.08, 0.03), (0.04, 0.42), (-0.2, 0.6), (-0.48, 0.52), (-0.86, 0.46), (-0.6, 0.3), (-0.3, 0.05)),
)
PALES: tuple[Colour, ...] = ((236, 234, 222), (234, 214, 112), (120, 158, 214), (150, 190, 214))


@dataclass(frozen=True)
class _Livery:
    """Colours and marks that all four wings of one butterfly share."""

    main: Colour
    edge: Colour
    mark: Colour
    border: float
    spots: int
    eyes: bool
    tip: bool
    veins: bool
    bands: bool


def draw_butterfly(pen: Pen, rng: Random) -> None:
    """Four broad patterned wings on a thin body; clubbed antennae."""
    livery = _livery(rng)
    fore = FOREWINGS[int(rng.integers(len(FOREWINGS)))]
    hind = HINDWINGS[int(rng.integers(len(HINDWINGS)))]
    shaken = rng.normal(0, 0.02, (2, 7, 2))
    lift = rng.uniform(-0.12, 0.18)
    for side in SIDES:
        wide = 0.6 + 0.4 * pen.pose.spread + rng.normal(0, 0.04)
        lit = 0.12 * side * float(np.sign(math.sin(pen.pose.light - pen.pose.heading)))
        hind_wing = _turn(smooth(np.add(hind, shaken[0]).tolist()), -lift, wide, side)
        fore_wing = _turn(smooth(np.add(fore, shaken[1]).tolist()), lift, wide, side)
        _wing(pen, hind_wing, livery, lit, root=(0.05, 0.03 * side))
        _wing(pen, fore_wing, livery, lit, root=(0.2, 0.03 * side), front=True)
    body = mix(livery.edge, (30, 24, 22), 0.6)
    antennae(
        pen, rng, root=(0.34, 0.02), joints=((0.2, 0.1), (0.38, 0.2)), width=0.02, colour=body, club=0.025
    )
    pen.dome(oval(-0.22, 0, 0.3, 0.05), body, 0)
    pen.dome(oval(0.13, 0, 0.15, 0.075), shade(body, 0.08), 0.1)
    pen.dome(oval(0.31, 0, 0.06, 0.06), body, 0.1)


def _livery(rng: Random) -> _Livery:
    main = vary(rng, pick(rng, (*WARMS, *WARMS, *BROWNS, *BROWNS, *PALES, *METALS[1:3], *DARKS)))
    edge = vary(rng, pick(rng, (*DARKS, *BROWNS[:2]))) if rng.random() < 0.75 else shade(main, -0.35)
    return _Livery(
        main=main,
        edge=edge,
        mark=vary(rng, pick(rng, (*WARMS, *PALES, *DARKS))),
        border=rng.uniform(0.03, 0.22),
        spots=int(rng.integers(0, 6)),
        eyes=rng.random() < 0.3,
        tip=rng.random() < 0.4,
        veins=rng.random() < 0.6,
        bands=rng.random() < 0.35,
    )


def _turn(outline: Points, angle: float, wide: float, side: int) -> Points:
    """Swing a left wing about its root by ``angle``, foreshorten it by ``wide``, mirror it for the right."""
    c, s = math.cos(-angle), math.sin(-angle)
    root = np.array([0.15, 0.03])
    turned: Points = ((outline - root) @ np.array([[c, s], [-s, c]]) + root) * (1, wide * side)
    return turned


def _wing(
    pen: Pen, outline: Points, livery: _Livery, lit: float, *, root: tuple[float, float], front: bool = False
) -> None:
    centre = outline.mean(0)
    pen.polygon(outline, shade(livery.edge, lit))
    inner = (
        centre + (outline - centre) * (1 - livery.border) + (np.array(root) - centre) * (0.35 * livery.border)
    )
    main = shade(livery.main, lit)
    pen.polygon(inner, main)
    pen.polygon(np.array(root) + (inner - root) * 0.45, shade(main, -0.12))
    far = np.argsort(np.hypot(*(outline - root).T))[-9:]
    if livery.bands:
        ring = np.array(root) + (inner[1:-1] - root) * 0.78
        pen.line(ring[2:-4], 0.05, shade(livery.mark, lit))
    if livery.tip and front:
        pen.polygon(outline[np.sort(far)], shade(livery.edge, lit))
    if livery.veins:
        for i in range(4, len(outline) - 5, 4):
            pen.line(
                [root, (float(outline[i, 0]), float(outline[i, 1]))], 0.008, mix(main, livery.edge, 0.55)
            )
    for i in range(livery.spots):
        at = centre + (outline[(5 + 3 * i) % len(outline)] - centre) * (1 - livery.border * 0.55)
        pen.polygon(oval(at[0], at[1], 0.028, 0.028), shade(livery.mark, lit))
    if livery.eyes:
        at = centre + (outline[9] - centre) * 0.45
        for radius, colour in ((0.1, livery.mark), (0.07, livery.edge), (0.025, (236, 236, 240))):
            pen.polygon(
                oval(at[0], at[1], radius, radius * (0.55 + 0.45 * pen.pose.spread)), shade(colour, lit)
            )


def draw_dragonfly(pen: Pen, rng: Random) -> None:
    """A long thin abdomen, a stout thorax, huge eyes, four long clear wings held crosswise."""
    colour = vary(rng, pick(rng, (*METALS, *WARMS, *BROWNS, (96, 146, 196), (130, 160, 70), DARKS[0])))
    mark = vary(rng, pick(rng, (*DARKS, *DARKS, (216, 200, 110), (110, 170, 210))))
    dark = mix(mark, (20, 18, 18), 0.6)
    legs(pen, rng, roots=(0.42, 0.38, 0.32), root_y=0.05, reach=0.3, width=0.025, colour=dark)
    _abdomen(pen, rng, colour, mark)
    pen.dome(oval(0.31, 0, 0.19, 0.125), colour, 0.35)
    for side in SIDES:
        pen.line([(0.18, side * 0.05), (0.44, side * 0.06)], 0.025, mark)
    eye = vary(rng, pick(rng, (*METALS, *BROWNS, WARMS[0])))
    pen.polygon(oval(0.56, 0, 0.07, 0.09), dark)
    for side in SIDES:
        pen.dome(oval(0.55, side * 0.085, 0.085, 0.085), eye, 0.6)
    folded = rng.random() < 0.15  # a damselfly at rest
    sweep = 2.5 + 0.25 * rng.random() if folded else 1.45 + 0.25 * (1 - pen.pose.spread)
    tint = vary(rng, pick(rng, ((214, 218, 222), (200, 186, 150), (160, 150, 140))))
    alpha = int(rng.integers(70, 140))
    tip = vary(rng, pick(rng, (*DARKS, *BROWNS, WARMS[1]))) if rng.random() < 0.2 else None
    narrow = rng.uniform(0.5, 0.7)
    with pen.layer():
        for side in SIDES:
            jitter = rng.normal(0, 0.06)
            for x, at, length, width in ((0.2, sweep + 0.3, 0.86, narrow * 1.2), (0.36, sweep, 0.92, narrow)):
                wing = Wing((x, 0.08), at + jitter, length, width, veins=4)
                glass_wing(pen, side, wing, tint, alpha, spot=dark, tip=tip)


def _abdomen(pen: Pen, rng: Random, colour: Colour, mark: Colour) -> None:
    """Ten segments, some with rings of the second colour."""
    thick, club = rng.uniform(0.045, 0.085), rng.uniform(-0.25, 0.2)
    x, rx = -0.36, 0.54
    pen.polygon(oval(x, 0, rx, thick * 1.1, egg=-club, square=0.7), shade(colour, -0.45))
    pen.polygon(oval(x, thick * 0.1, rx * 0.98, thick * 0.75, egg=-club, square=0.7), colour)
    pen.polygon(oval(x, thick * 0.25, rx * 0.95, thick * 0.3, egg=-club, square=0.7), shade(colour, 0.22))
    width = rng.uniform(0.03, 0.13)
    for segment in range(9):
        start = -0.95 + 0.2 * segment
        pen.polygon(band(x, rx, thick * 1.05, start, start + width, egg=-club), mark)
