"""The value objects that cross the seams of the board's room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Color = Literal["rgb", "bgr", "gray"]
U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
BYTE = np.dtype(np.uint8)  # comparing with the class makes one of it every time
Box = tuple[int, int, int, int]  # left, top, width, height in pixels


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture in memory, from a camera or a file.

    image: uint8, ``(H, W, 3)`` for rgb/bgr or ``(H, W)`` for gray; may be a view into camera memory.
    timestamp_ns: when the picture was taken, on ``time.monotonic_ns``'s clock (0: not known).
    index: running number within its source. name: file name, where there is one. media_s: seconds from
    the start of a recording, None for a camera; decisions keep time by it, so that a film played as
    fast as possible has the same events. small: the same picture, uint8 grey ``(h, w)``, smaller by a whole
    factor, where the camera delivers one for nothing (the search for motion uses it).

    A frame that borrows camera memory hands it back in ``release``; use it as a context manager.
    """

    image: U8
    color: Color
    timestamp_ns: int = 0
    index: int = 0
    name: str = ""
    media_s: float | None = None
    small: U8 | None = field(default=None, repr=False, compare=False)
    on_release: Callable[[], None] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        shape = self.image.shape
        if self.image.dtype != BYTE:
            raise ValueError(f"a frame holds uint8, not {self.image.dtype}")
        if not (len(shape) == 2 if self.color == "gray" else len(shape) == 3 and shape[2] == 3):
            raise ValueError(f"a {self.color} frame cannot have shape {shape}")
        if 0 in shape:
            raise ValueError(f"an empty frame: {shape}")

    @property
    def time_s(self) -> float:
        """The moment it shows, in seconds, to measure durations within one source."""
        return self.timestamp_ns / 1e9 if self.media_s is None else self.media_s

    def release(self) -> None:
        """Give borrowed camera memory back; harmless where there is none."""
        if self.on_release is not None:
            self.on_release()

    def __enter__(self) -> Frame:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


@dataclass(frozen=True, slots=True)
class Score:
    """One class of a prediction. ``confidence`` is a probability in 0..1."""

    label: str
    index: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that is in the picture now, by the decisions (smoothed over time, above their threshold).

    score: its likeliest class. unknown: not sure enough to say so. box: in the frame's pixels, None for the
    whole frame.
    """

    score: Score
    unknown: bool = False
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says about one picture.

    probabilities: float32 ``(classes,)``, sums to 1. labels: in index order.
    """

    probabilities: F32
    labels: tuple[str, ...]

    @property
    def index(self) -> int:
        """Index of the likeliest class."""
        return int(self.probabilities.argmax())

    @property
    def label(self) -> str:
        """Name of the likeliest class."""
        return self.labels[self.index]

    @property
    def confidence(self) -> float:
        """Probability of the likeliest class."""
        return float(self.probabilities.max())

    def top(self, k: int = 5) -> list[Score]:
        """The ``k`` likeliest classes, best first; ties go to the lower index."""
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [Score(self.labels[i], int(i), float(self.probabilities[i])) for i in order]
