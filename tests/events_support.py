"""Events as the loop would make them, for what keeps, sends and shows them."""

from __future__ import annotations

import numpy as np

from imago.edge_runtime.events import Event, event_id
from imago.edge_runtime.types import Frame, Score

NOON = 1_764_000_000.0  # 2025-11-24 16:00:00 UTC
LABELS = ("bee", "fly", "wasp")


def picture(seed: int = 0, width: int = 64, height: int = 48, color: str = "rgb") -> Frame:
    """A smooth picture that differs from seed to seed (noise would make every JPEG huge)."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    planes = [(x * (1 + seed % 3) + y * (c + 1) + 17 * seed) % 256 for c in range(3)]
    image = planes[0] if color == "gray" else np.stack(planes, axis=-1)
    return Frame(image.astype(np.uint8), color)  # type: ignore[arg-type]


def visit(
    number: int = 0,
    *,
    start: float | None = None,
    crop: bool | Frame = True,
    unknown: bool = False,
    **more: object,
) -> Event:
    """Visit ``number``: one every ten seconds from NOON on, classes taking turns."""
    begin = NOON + 10 * number if start is None else start
    label = LABELS[number % 3]
    top = (Score(label, number % 3, round(0.5 + number % 50 / 100, 6)), Score("other", 3, 0.1))
    values: dict[str, object] = {
        "id": event_id(begin),
        "source": "synthetic",
        "model": "tiny",
        "start": begin,
        "end": begin + 2.5,
        "duration_s": 2.5,
        "frames": 25,
        "top": top,
        "unknown": unknown,
        "box": (1, 2, 30, 40),
        "crop": crop if isinstance(crop, Frame) else picture(number) if crop else None,
    }
    return Event(**{**values, **more})  # type: ignore[arg-type]
