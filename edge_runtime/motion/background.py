"""What the scene looks like when nothing moves: a running Gaussian for every pixel of a small grey picture.

Wren et al., "Pfinder" (1997), with what a board on a tree needs besides: the exposure is followed (clouds,
automatic gain) by one factor for the picture; a camera that swings is steadied, or makes the model blind for
a moment instead of proposing a hundred regions; a scene that stays changed is learned anew; what comes and
goes in one place raises the variance there, so that a leaf in the wind grows quiet within half a minute, and
one insect does not. numpy throughout: a 160×90 picture costs about half a millisecond on a PC.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.motion.options import MotionOptions
from imago.edge_runtime.resample import halve
from imago.edge_runtime.types import F32, Box, Frame

Mask = npt.NDArray[np.bool_]
GRID = (6, 8)  # cells, rows and columns, in which the spread of a change is counted
CELL_SHARE = 0.02  # of a cell's pixels have to change for it to count
SHIFT_EXPLAINS, SHIFT_BLINDS = 0.25, 0.5  # shares of a difference that a shift of the picture accounts for
SHIFT_LEAST = 0.2  # pixels of the small picture
RESTLESS = 3.0  # comings and goings of a pixel, within about ``noise_s``, from which it is restless
RESTLESS_S = 3.0  # time constant with which foreground becomes noise there
LEAST_SIDE = 8


@dataclass(frozen=True, slots=True)
class Change:
    """What differs from the background. ratio: squared deviations over squared noise, float32 ``(h, w)``.

    mask: where it counts. blind: light or camera changed the scene as a whole, and nothing can be said.
    """

    ratio: F32
    mask: Mask
    blind: bool


def shrink(frame: Frame, widest: int) -> tuple[F32, int]:
    """A small grey picture, float32 ``(h, w)``, and how many pixels of the frame make one of its pixels.

    The camera's own where it delivers one. Else green stands for grey (0.6 of the luma); large frames are
    thinned out by every second pixel first and then averaged: half the work, and aliases of a still scene
    stand still.
    """
    if frame.small is not None:
        return frame.small.astype(np.float32), frame.image.shape[1] // frame.small.shape[1]
    gray = frame.image if frame.image.ndim == 2 else frame.image[..., 1]
    factor = 1
    while gray.shape[1] > widest and min(gray.shape) >= 2 * LEAST_SIDE:
        if factor == 1 and gray.shape[1] >= 4 * widest:
            gray = np.ascontiguousarray(gray[::2, ::2])
        else:
            gray = halve(np.ascontiguousarray(gray))
        factor *= 2
    return gray.astype(np.float32), factor


class Background:
    """The model of one camera's scene; of pictures ``(h, w)``, all of one size (another size: anew)."""

    def __init__(self, options: MotionOptions) -> None:
        self._options = options
        self._mean: F32 | None = None
        self._variance: F32 = np.zeros((0, 0), np.float32)
        self._comings: F32 = np.zeros((0, 0), np.float32)
        self._before: Mask = np.zeros((0, 0), np.bool_)
        self._time = self._seen = 0.0
        self.resets = 0

    @property
    def mean(self) -> F32:
        """The scene as it is known, float32 ``(h, w)``."""
        return np.zeros((0, 0), np.float32) if self._mean is None else self._mean

    def look(self, picture: F32, now: float, held: Sequence[Box] = ()) -> Change | None:
        """Compare, then learn, except the foreground in ``held``: what sits there will leave again.

        None: there was nothing to compare with yet.
        """
        if self._mean is None or self._mean.shape != picture.shape:
            self._begin(picture, now)
            return None
        elapsed, self._time = max(0.0, now - self._time), now
        self._mean *= np.float32(_exposure(picture, self._mean))
        difference, shaken = _steadied(picture - self._mean, self._mean)
        squares = difference * difference
        ratio = box3(squares) / (box3(self._variance) + np.float32(self._options.floor**2))
        mask = ratio > self._options.differs**2
        blind = self._everywhere(mask) or shaken
        if not blind:
            self._seen = now
            self._learn(difference, squares, mask, elapsed, held)
        elif now - self._seen > self._options.blind_s:  # it will not swing back: this is the scene now
            self.resets += 1
            self._begin(picture, now)
        return Change(ratio, mask, blind)

    def _begin(self, picture: F32, now: float) -> None:
        self._mean, self._time, self._seen = picture.copy(), now, now
        if self._variance.shape != picture.shape:
            self._variance = np.zeros_like(picture)
            self._comings = np.zeros_like(picture)
        self._before = np.zeros(picture.shape, np.bool_)

    def _learn(self, difference: F32, squares: F32, mask: Mask, elapsed: float, held: Sequence[Box]) -> None:
        assert self._mean is not None  # noqa: S101  look() began it
        options = self._options
        fast, slow, noise = (
            np.float32(-math.expm1(-elapsed / seconds))
            for seconds in (options.learn_s, options.absorb_s, options.noise_s)
        )
        share = np.where(mask, slow, fast)
        for left, top, width, height in held:
            area = np.s_[top : top + height, left : left + width]
            share[area][mask[area]] = 0
        self._mean += share * difference
        # Foreground says nothing about the noise, except where it comes and goes all the time.
        self._comings *= 1 - noise
        self._comings += mask & ~self._before
        restless = np.float32(-math.expm1(-elapsed / RESTLESS_S))
        share = np.where(mask, np.where(self._comings > RESTLESS, restless, np.float32(0)), noise)
        self._variance += share * (squares - self._variance)
        self._before = mask

    def _everywhere(self, mask: Mask) -> bool:
        if float(mask.mean()) > self._options.global_share:
            return True
        rows, columns = GRID
        if min(mask.shape[0] // rows, mask.shape[1] // columns) < 2:
            return False
        cells = mask[: mask.shape[0] // rows * rows, : mask.shape[1] // columns * columns]
        cells = cells.reshape(rows, cells.shape[0] // rows, columns, -1).mean((1, 3)) > CELL_SHARE
        return float(cells.mean()) > self._options.spread

    def absorb(self, picture: F32, box: Box) -> None:
        """What is in ``box`` belongs to the scene from now on."""
        left, top, width, height = box
        area = np.s_[top : top + height, left : left + width]
        self.mean[area] = picture[area]

    def uncovered(self, picture: F32, box: Box, mask: Mask) -> bool:
        """Whether a still difference is a hole, something that was in the background and has gone.

        Along the outline of the difference the object has edges, the ground has few; the edges are in the
        background then and not in the picture (edge energy: Spagnolo et al. 2006).
        """
        left, top, width, height = box
        area = np.s_[max(0, top - 1) : top + height + 1, max(0, left - 1) : left + width + 1]
        inside = mask[area]
        rim = inside & ~(box3(inside.astype(np.float32)) > 0.99)
        if not rim.any():
            return False
        now, before = _edges(picture[area])[rim].mean(), _edges(self.mean[area])[rim].mean()
        return bool(before > 1.5 * now + 1)


def _exposure(picture: F32, mean: F32) -> float:
    """By which factor the whole scene is brighter: the median over every fourth pixel, within 1/4 to 4.

    Half of the picture may change without touching the median.
    """
    known = mean[::4, ::4]
    use = known > 8
    if int(use.sum()) < 16:
        return 1.0
    return min(4.0, max(0.25, _median(picture[::4, ::4][use] / known[use])))


def _median(values: F32) -> float:
    """As ``np.median``, which loads numpy's masked arrays: 2 MB."""
    low, high = (len(values) - 1) // 2, len(values) // 2
    ordered = np.partition(values, (low, high))
    return float(np.mean(ordered[low : high + 1]))


def _steadied(difference: F32, mean: F32) -> tuple[F32, bool]:
    """The difference without what a small shift of the camera makes of the scene's edges, and whether that
    was so much of it that the rest cannot be trusted.

    One step of Lucas & Kanade (1981) for the whole picture: ``d ≈ u·∂x + v·∂y``.
    """
    x, y = np.zeros_like(mean), np.zeros_like(mean)
    x[:, 1:-1] = (mean[:, 2:] - mean[:, :-2]) / 2
    y[1:-1] = (mean[2:] - mean[:-2]) / 2
    xx, xy, yy = (float(np.vdot(a, b)) for a, b in ((x, x), (x, y), (y, y)))
    xd, yd, dd = (float(np.vdot(a, difference)) for a in (x, y, difference))
    determinant = xx * yy - xy * xy
    if determinant <= 1e-6 * max(xx, yy, 1.0) ** 2 or dd <= 0:
        return difference, False
    u, v = (yy * xd - xy * yd) / determinant, (xx * yd - xy * xd) / determinant
    explained = (u * xd + v * yd) / dd
    if explained < SHIFT_EXPLAINS:
        return difference, False
    steady: F32 = difference - np.float32(u) * x - np.float32(v) * y
    return steady, explained > SHIFT_BLINDS and math.hypot(u, v) > SHIFT_LEAST


def box3(values: F32) -> F32:
    """Mean of 3 × 3; the border repeats."""
    padded = np.pad(values, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    total: F32 = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) * np.float32(1 / 9)
    return total


def _edges(values: F32) -> F32:
    padded = np.pad(values, 1, mode="edge")
    x = np.abs(padded[1:-1, 2:] - padded[1:-1, :-2])
    y = np.abs(padded[2:, 1:-1] - padded[:-2, 1:-1])
    strongest: F32 = np.maximum(x, y)
    return strongest
