"""Facts on a run's weights from the head of the file alone: no torch, no tensor is read."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

from imago.studio.training import WEIGHTS

MAX_HEAD = 10_000_000
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def parameter_count(run: Path) -> int:
    """Learnt numbers of the run's network; 0 where the file cannot be read."""
    try:
        with (run / WEIGHTS).open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > MAX_HEAD:
                return 0
            head = json.loads(file.read(length))
        return sum(
            math.prod(entry["shape"])
            for name, entry in head.items()
            if name != "__metadata__" and not name.endswith(BUFFERS)
        )
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return 0
