"""The part of the picture that counts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.types import Frame

LEAST = 8  # pixels; less shows nothing


@dataclass(frozen=True, slots=True)
class Roi:
    """A rectangle, in pixels of the frame or, where all four are at most 1, in shares of its sides.

    left, top, width, height: ``0.25,0.25,0.5,0.5`` is the middle quarter of any frame.
    """

    left: float
    top: float
    width: float
    height: float

    def __post_init__(self) -> None:
        values = (self.left, self.top, self.width, self.height)
        good = all(math.isfinite(v) and 0 <= v <= 1e6 for v in values) and self.width > 0 and self.height > 0
        if not good or (self.shares and (self.left + self.width > 1.001 or self.top + self.height > 1.001)):
            raise InputError(
                "the region {value} is not usable; expected left,top,width,height in pixels, "
                "or in shares of the picture from 0 to 1",
                value=",".join(f"{v:g}" for v in values),
            )

    @classmethod
    def parse(cls, text: str) -> Roi:
        """``x,y,w,h`` → Roi. Raises InputError."""
        try:
            left, top, width, height = (float(part) for part in text.split(","))
        except ValueError:
            raise InputError(
                "the region {value} is not usable; expected left,top,width,height in pixels, "
                "or in shares of the picture from 0 to 1",
                value=text,
            ) from None
        return cls(left, top, width, height)

    @property
    def shares(self) -> bool:
        """Whether it is given in shares of the frame's sides."""
        return max(self.left, self.top, self.width, self.height) <= 1

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """``(left, top, width, height)`` in pixels within a frame of that size, at least 8 a side.

        Raises InputError where nothing of it lies inside.
        """
        x, y = (width, height) if self.shares else (1, 1)
        left, top = round(self.left * x), round(self.top * y)
        right, bottom = (
            min(width, round((self.left + self.width) * x)),
            min(height, round((self.top + self.height) * y)),
        )
        if right - left < LEAST or bottom - top < LEAST:
            raise InputError(
                "the region {value} lies outside the picture of {width}×{height}, or is smaller than "
                "{least} pixels",
                value=f"{self.left:g},{self.top:g},{self.width:g},{self.height:g}",
                width=width,
                height=height,
                least=LEAST,
            )
        return left, top, right - left, bottom - top

    def view(self, frame: Frame) -> tuple[Frame, tuple[int, int]]:
        """The region as a frame that looks into the same memory, and its left and top."""
        left, top, width, height = self.box(frame.image.shape[1], frame.image.shape[0])
        image = frame.image[top : top + height, left : left + width]
        return replace(frame, image=image, small=None, on_release=None), (left, top)
