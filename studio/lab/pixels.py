"""A picture as the numbers that it is: grey 0 to 255, red-green-blue triples, or black and white."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.preprocess import Preprocessor
from imago.edge_runtime.spec import InputSpec
from imago.edge_runtime.types import U8, Frame

Mode = Literal["gray", "rgb", "bw"]
MODES: tuple[Mode, ...] = ("gray", "rgb", "bw")
SIDES = (2, 64)  # fewer say nothing, more do not fit on a screen


def numbers(frame: Frame, side: int, mode: Mode, threshold: int | None = None) -> U8:
    """The middle square of a picture, made small as the board would: uint8 ``(side, side)`` for gray (0..255)
    and bw (0 black, 1 white), ``(side, side, 3)`` for rgb.

    threshold: grey from which a pixel is white (None: the picture's own mean). Raises InputError for a side
    or threshold out of range.
    """
    low, high = SIDES
    if not low <= side <= high:
        raise InputError(
            "--{name} is {value}; expected {low} to {high}", name="size", value=side, low=low, high=high
        )
    if threshold is not None and not 0 <= threshold <= 255:
        raise InputError(
            "--{name} is {value}; expected {low} to {high}",
            name="threshold",
            value=threshold,
            low=0,
            high=255,
        )
    spec = InputSpec(side, side, 3, "rgb") if mode == "rgb" else InputSpec(side, side, 1, "gray")
    pixels = Preprocessor(spec).pixels(frame)
    if mode == "rgb":
        return pixels
    grey = pixels[:, :, 0]
    return grey if mode == "gray" else (grey >= limit(grey, threshold)).astype(np.uint8)


def limit(grey: U8, threshold: int | None) -> float:
    """The grey from which a pixel counts as white."""
    return float(grey.mean()) if threshold is None else float(threshold)


def text_lines(values: U8) -> Iterator[str]:
    """The numbers row by row, as a program prints them: ``255  12`` or ``[255 255 255]``."""
    if values.ndim == 3:
        for row in values:
            yield " ".join(f"[{r:3d} {g:3d} {b:3d}]" for r, g, b in row.tolist())
        return
    width = 1 if values.max(initial=0) <= 1 else 3
    for row in values:
        yield " ".join(f"{value:{width}d}" for value in row.tolist())
