"""Connected regions of a mask, and the square of the frame that is cut out around one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.motion.background import Change
from imago.edge_runtime.motion.options import MotionOptions
from imago.edge_runtime.types import Box

MAX_RUNS = 4000  # a mask of more pieces than this is noise
LADDER = 1.15  # sides of crops go up in steps: a resize for every single pixel would be prepared anew


@dataclass(frozen=True, slots=True)
class Region:
    """One connected region: its box and how many pixels of it differ."""

    box: Box
    area: int


def regions(change: Change, options: MotionOptions) -> list[Region]:
    """Regions of a change, largest first: joined over gaps of two pixels, and sure at one place at least."""
    found = []
    for box, area in components(grown(change.mask), change.mask):
        left, top, width, height = box
        strongest = float(change.ratio[top : top + height, left : left + width].max())
        if area >= options.least_area and strongest >= options.peak**2:
            found.append(Region(box, area))
    return sorted(found, key=lambda region: -region.area)


def grown(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The mask and its eight neighbours: wings and body of one animal touch."""
    padded = np.pad(mask, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    out: npt.NDArray[np.bool_] = rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]
    return out


def components(mask: npt.NDArray[np.bool_], counted: npt.NDArray[np.bool_]) -> list[tuple[Box, int]]:
    """Boxes of the 8-connected components of ``mask``, drawn around those pixels of theirs that are in
    ``counted``, and how many these are. Runs of each row are joined with those they touch above.
    """
    rows, starts, ends = _runs(mask)
    if not 0 < len(rows) <= MAX_RUNS:
        return []
    parent = list(range(len(rows)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    above, first = 0, 0
    for i, row in enumerate(rows):
        if i == 0 or row != rows[i - 1]:
            above, first = (first, i) if i and rows[i - 1] == row - 1 else (i, i)
        j = above
        while j < first and starts[j] <= ends[i]:
            if ends[j] >= starts[i]:
                parent[root(i)] = root(j)
            j += 1
    return _boxes(rows, starts, ends, [root(i) for i in range(len(rows))], counted)


def _runs(mask: npt.NDArray[np.bool_]) -> tuple[list[int], list[int], list[int]]:
    """Rows, first columns and columns after the last of all runs, in reading order."""
    steps = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    return rows.tolist(), starts.tolist(), ends.tolist()


def _boxes(
    rows: list[int],
    starts: list[int],
    ends: list[int],
    names: list[int],
    counted: npt.NDArray[np.bool_],
) -> list[tuple[Box, int]]:
    extents: dict[int, list[int]] = {}
    for row, start, end, name in zip(rows, starts, ends, names, strict=True):
        inside = np.flatnonzero(counted[row, start:end])
        if len(inside):
            left, right = start + int(inside[0]), start + int(inside[-1]) + 1
            e = extents.setdefault(name, [left, row, right, row + 1, 0])
            e[:] = [min(e[0], left), min(e[1], row), max(e[2], right), max(e[3], row + 1), e[4] + len(inside)]
    return [((e[0], e[1], e[2] - e[0], e[3] - e[1]), e[4]) for e in extents.values()]


def square(box: Box, factor: int, shape: tuple[int, ...], options: MotionOptions) -> Box:
    """The square of the frame to classify around ``box`` (of the small picture): padded, its side on a
    ladder of sizes, moved inside the frame; never larger than the frame's shorter side.
    """
    left, top, width, height = (side * factor for side in box)
    wanted = max(options.least_crop, max(width, height) * options.pad)
    side = float(options.least_crop)
    while side < wanted:
        side *= LADDER
    whole = min(round(side), shape[0], shape[1])
    x, y = left + width // 2 - whole // 2, top + height // 2 - whole // 2
    return min(max(0, x), shape[1] - whole), min(max(0, y), shape[0] - whole), whole, whole
