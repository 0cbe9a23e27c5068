"""Drawing in body coordinates: a pen that knows the pose and the light.

Body coordinates: x forward (head), y to the left, and everything within about 1 of the origin. Shapes
are drawn with Pillow at twice the size and halved at the end, which smooths edges at little cost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from imago.edge_runtime.types import U8

Points = npt.NDArray[np.float64]
Colour = tuple[int, int, int]
Random = np.random.Generator

OVERSAMPLING = 2
WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)


@dataclass(frozen=True)
class Pose:
    """How an insect lies in the picture.

    heading, light: radians, anticlockwise from the right; light is where it comes from. bend: sideways
    curvature of the body. tilt: foreshortening along ``tilt_axis`` (1: seen from straight above).
    gait: phase of the legs in radians. spread: 0 wings folded … 1 wings wide.
    """

    heading: float = math.pi / 2
    light: float = 2.2
    bend: float = 0.0
    tilt: float = 1.0
    tilt_axis: float = 0.0
    gait: float = 0.0
    spread: float = 1.0


def random_pose(rng: Random) -> Pose:
    """Any heading; tilts, bends and wing spreads as photographs show them."""
    return Pose(
        heading=rng.uniform(0, 2 * math.pi),
        light=rng.uniform(0, 2 * math.pi),
        bend=rng.normal(0, 0.13),
        tilt=rng.uniform(0.7, 1.0),
        tilt_axis=rng.uniform(0, math.pi),
        gait=rng.uniform(0, 2 * math.pi),
        spread=rng.uniform(0, 1),
    )


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """``share`` of b in a."""
    keep = 1 - share
    return (
        round(a[0] * keep + b[0] * share),
        round(a[1] * keep + b[1] * share),
        round(a[2] * keep + b[2] * share),
    )


def shade(colour: Colour, amount: float) -> Colour:
    """Lighter (amount up to 1) or darker (down to -1)."""
    return mix(colour, WHITE if amount > 0 else BLACK, abs(amount))


def vary(rng: Random, colour: Colour, by: float = 14) -> Colour:
    """The same colour on another individual: lighter or darker, and a little off in hue."""
    change = rng.normal(0, by) + rng.normal(0, 0.4 * by, 3)
    r, g, b = (min(255, max(0, round(old + float(new)))) for old, new in zip(colour, change, strict=True))
    return r, g, b


def columns(x: npt.ArrayLike, y: npt.ArrayLike) -> Points:
    """Points from their coordinates (np.stack is slow on the tiny arrays of a drawing)."""
    x = np.asarray(x, np.float64)
    points = np.empty((len(x), 2))
    points[:, 0], points[:, 1] = x, y
    return points


@cache
def _circle(n: int) -> Points:
    angle = np.linspace(0, 2 * math.pi, n, endpoint=False)
    return columns(np.cos(angle), np.sin(angle))


def oval(x: float, y: float, rx: float, ry: float, *, egg: float = 0.0, square: float = 1.0) -> Points:
    """An ellipse; ``egg`` widens its front, ``square`` below 1 makes its corners fuller."""
    unit = _circle(24)
    if square != 1.0:
        unit = np.sign(unit) * np.abs(unit) ** square
    return columns(x + rx * unit[:, 0], y + ry * unit[:, 1] * (1 + egg * unit[:, 0]))


@cache
def _spline_weights(per_piece: int) -> Points:
    t = np.linspace(0, 1, per_piece, endpoint=False)[:, None]
    powers = np.hstack([np.ones_like(t), t, t**2, t**3])
    catmull_rom = np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2
    weights: Points = powers @ catmull_rom
    return weights


def smooth(corners: Sequence[tuple[float, float]], per_piece: int = 4) -> Points:
    """A closed smooth curve through the corners."""
    p = np.array(corners, np.float64)
    quads = np.stack([np.roll(p, 1, 0), p, np.roll(p, -1, 0), np.roll(p, -2, 0)], 1)
    curve: Points = np.einsum("tk,nkd->ntd", _spline_weights(per_piece), quads).reshape(-1, 2)
    return curve


class Pen:
    """Draws an insect of one pose into an RGBA picture of ``size`` × ``size``."""

    def __init__(self, pose: Pose, size: int) -> None:
        self.pose, self.size = pose, size
        steps = 4 if size < 130 else 10  # small pictures hide the steps
        self._tones = [i / (steps - 1) for i in range(steps)]
        self._half = size * OVERSAMPLING / 2
        self._image = Image.new("RGBA", (size * OVERSAMPLING,) * 2)
        self._draw = ImageDraw.Draw(self._image)
        self._matrix = _camera(pose) * (self._half * 0.93)
        away = pose.light - pose.heading
        self._light = np.array([math.cos(away), math.sin(away)])

    def polygon(self, points: Points, colour: Colour, alpha: int = 255) -> None:
        """A filled shape; it replaces what is below, also where alpha is low (draw glass on a layer)."""
        self._draw.polygon(self._pixels(points), (*colour, alpha))

    def line(self, points: Points | Sequence[tuple[float, float]], width: float, colour: Colour) -> None:
        """An open line ``width`` wide in body units, at least a hair."""
        pixels = self._pixels(np.asarray(points, np.float64))
        thick = max(1, round(width * self._half))
        self._draw.line(pixels, (*colour, 255), thick, joint="curve" if thick > 2 else None)

    def dome(self, outline: Points, colour: Colour, gloss: float = 0.3) -> None:
        """A rounded, lit body part: dark rim, lighter towards the light, a highlight by ``gloss`` 0..1."""
        centre = outline.mean(0)
        arm = outline - centre
        reach = float(np.abs(arm).max(0).min())
        rings = [(1 - 0.62 * t * t, 0.2 * t, 0.66 * t**0.7 - 0.52) for t in self._tones]
        if gloss > 0.05:
            rings += [(0.2, 0.42, 0.1 + 0.4 * gloss), (0.1, 0.42, 0.15 + 0.7 * gloss)]
        table = np.array(rings)
        shapes = centre + arm * table[:, :1, None] + self._light * (reach * table[:, 1:2, None])
        count = 2 * len(outline)
        flat = self._pixels(shapes.reshape(-1, 2))
        for i, (_, _, tone) in enumerate(rings):
            self._draw.polygon(flat[i * count : (i + 1) * count], (*shade(colour, tone), 255))

    def gleam(self, x: float, y: float, reach: float, gloss: float) -> None:
        """A glossy reflection on a dome with marks, translucent so that the marks show through."""
        at = np.array([x, y]) + self._light * reach * 0.5
        with self.layer():
            self.polygon(oval(at[0], at[1], reach * 0.3, reach * 0.26), WHITE, round(90 * gloss))
            self.polygon(oval(at[0], at[1], reach * 0.14, reach * 0.12), WHITE, round(210 * gloss))

    @contextmanager
    def layer(self) -> Iterator[None]:
        """What is drawn inside lies as one pane over what was drawn before: for translucent wings."""
        below = self._image
        self._image = Image.new("RGBA", below.size)
        self._draw = ImageDraw.Draw(self._image)
        yield
        below.alpha_composite(self._image)
        self._image, self._draw = below, ImageDraw.Draw(below)

    def finish(self) -> U8:
        """The picture, uint8 ``(size, size, 4)``."""
        return np.array(self._image.reduce(OVERSAMPLING))

    def _pixels(self, points: Points) -> list[float]:
        if self.pose.bend:
            points = points.copy()
            points[:, 1] += self.pose.bend * points[:, 0] ** 2
        flat: list[float] = (points @ self._matrix + self._half).ravel().tolist()
        return flat


def _camera(pose: Pose) -> Points:
    """Body → picture (y down), for row vectors: turn, then foreshorten along the tilt axis."""
    c, s = math.cos(pose.heading), math.sin(pose.heading)
    turn = np.array([[c, -s], [-s, -c]])
    axis = np.array([[math.cos(pose.tilt_axis)], [math.sin(pose.tilt_axis)]])
    matrix: Points = turn @ (np.eye(2) - (1 - pose.tilt) * (axis @ axis.T))
    return matrix
