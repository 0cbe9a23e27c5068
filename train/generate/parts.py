"""What insects have in common: six legs, antennae, glassy wings, stripes and spots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imago.train.generate.pen import BLACK, Colour, Pen, Points, Random, columns, mix, oval, shade

SIDES = (1, -1)
LEG_ANGLES = (0.85, 1.6, 2.3)  # radians from straight ahead: front, middle, hind
# Palettes overlap across the classes on purpose: colour alone must not tell them apart.
BROWNS: tuple[Colour, ...] = ((58, 38, 24), (96, 60, 32), (134, 84, 44), (44, 34, 30), (112, 50, 30))
DARKS: tuple[Colour, ...] = ((24, 22, 24), (38, 34, 34), (28, 30, 42), (50, 36, 30))
WARMS: tuple[Colour, ...] = ((196, 44, 30), (222, 104, 28), (232, 164, 44), (164, 40, 34), (214, 188, 82))
METALS: tuple[Colour, ...] = ((34, 112, 72), (40, 84, 150), (104, 62, 128), (128, 104, 42), (30, 124, 128))


def pick(rng: Random, colours: Sequence[Colour]) -> Colour:
    """One of the colours."""
    return colours[int(rng.integers(len(colours)))]


def legs(
    pen: Pen,
    rng: Random,
    *,
    roots: Sequence[float],
    root_y: float,
    reach: float,
    width: float,
    colour: Colour,
) -> None:
    """Three pairs of jointed legs, walking as insects do: three feet swing while three stand.

    roots: x where the front, middle and hind pair attach. reach: length of a leg.
    """
    for pair, (x, angle) in enumerate(zip(roots, LEG_ANGLES, strict=True)):
        for side in SIDES:
            swing = 0.22 * math.sin(pen.pose.gait + (pair + (side > 0)) % 2 * math.pi)
            at = angle + swing + rng.normal(0, 0.1)
            turn = (-0.45, 0.35, 0.5)[pair] + rng.normal(0, 0.08)
            steps = ((0.45, at - 0.5 * turn), (0.38, at + 0.7 * turn), (0.17, at + 1.5 * turn))
            points = [(x, side * root_y)]
            for share, direction in steps:
                px, py = points[-1]
                length = share * reach
                points.append((px + length * math.cos(direction), py + side * length * math.sin(direction)))
            pen.line(points[:2], width * 1.25, shade(colour, -0.15))
            pen.line(points[1:], width * 0.8, shade(colour, 0.08))


def antennae(
    pen: Pen, rng: Random, *, root: tuple[float, float], joints: Sequence[tuple[float, float]], width: float,
    colour: Colour, club: float = 0.0
) -> None:  # fmt: skip
    """A pair of feelers through ``joints`` (offsets from the root, left side), with a club of that radius."""
    for side in SIDES:
        sway = rng.normal(0, 0.03, (len(joints), 2))
        points = [(root[0], side * root[1])]
        for (x, y), (dx, dy) in zip(joints, sway.tolist(), strict=True):
            points.append((root[0] + x + dx, side * (root[1] + y + dy)))
        pen.line(points, width, colour)
        if club:
            pen.polygon(oval(*points[-1], club * 1.3, club), colour)


_STEPS = np.linspace(0, 1, 5)


def band(x: float, rx: float, ry: float, start: float, end: float, *, egg: float = 0.0) -> Points:
    """The slice of an oval at the origin's height between ``start`` and ``end`` (each -1 tail … 1 head)."""
    u = start + (end - start) * _STEPS
    half = ry * np.sqrt(np.maximum(0, 1 - u**2)) * (1 + egg * u)
    along = x + rx * u
    middle = along[0] - 0.12 * rx * (1 - 4 * (_STEPS[1:-1] - 0.5) ** 2)  # the rear edge bulges
    rear = half[0] * (2 * _STEPS[1:-1] - 1)
    return columns(np.concatenate([along, along[::-1], middle]), np.concatenate([half, -half[::-1], rear]))


def fur(rng: Random, outline: Points, length: float) -> Points:
    """The outline with hairs: every other point pushed out and shaken."""
    dense = np.repeat(outline, 2, 0)
    dense[1:-1:2] = (outline[:-1] + outline[1:]) / 2
    centre = outline.mean(0)
    push = rng.uniform(-0.25, 1, (len(dense), 1)) * length
    push[::2] *= -0.4
    arm = dense - centre
    hairy: Points = dense + arm * (push / np.maximum(np.hypot(arm[:, :1], arm[:, 1:]), 1e-6))
    return hairy


OUTLINE: Points = np.array(
    [(0, 0.02), (0.2, 0.1), (0.5, 0.12), (0.8, 0.1), (0.96, 0.04), (1, -0.04), (0.9, -0.16), (0.65, -0.24),
     (0.35, -0.2), (0.12, -0.1), (0, -0.03)]
)  # fmt: skip


@dataclass(frozen=True)
class Wing:
    """Where a left wing sits and how it is held; ``angle`` in radians from straight ahead."""

    root: tuple[float, float]
    angle: float
    length: float
    width: float
    veins: int = 3


def glass_wing(
    pen: Pen, side: int, wing: Wing, tint: Colour, alpha: int, *, spot: Colour | None = None,
    tip: Colour | None = None
) -> None:  # fmt: skip
    """A translucent wing with veins, a dark spot near the tip or a dark tip. Draw it on a layer."""
    c, s = math.cos(wing.angle), math.sin(wing.angle)

    def place(local: Points) -> Points:
        along, across = local[:, 0] * wing.length, local[:, 1] * wing.width
        x = wing.root[0] + along * c + across * s
        return columns(x, side * (wing.root[1] + along * s - across * c))

    edge = mix(tint, BLACK, 0.55)
    pen.polygon(place(OUTLINE), edge, min(255, alpha + 70))
    inner = OUTLINE * (0.97, 0.88) + (0.012, -0.006)
    pen.polygon(place(inner), tint, alpha)
    if tip is not None:
        pen.polygon(
            place(np.array([(0.72, 0.09), (0.96, 0.03), (0.99, -0.04), (0.88, -0.15), (0.7, -0.2)])), tip, 215
        )
    for vein in range(wing.veins):
        end = 0.07 - 0.26 * vein / max(wing.veins - 1, 1)
        pen.line(place(np.array([(0.02, 0), (0.4, end * 0.75), (0.93 - abs(end) * 1.4, end)])), 0.006, edge)
    if spot is not None:
        pen.polygon(place(np.array([(0.78, 0.1), (0.89, 0.07), (0.89, 0.02), (0.78, 0.05)])), spot, 240)
