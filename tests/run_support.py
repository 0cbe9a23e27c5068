"""What tests of whole runs share."""

from __future__ import annotations

from pathlib import Path

import torch

from imago.train.checkpoint import load_tensors


def same_weights(a: Path, b: Path) -> bool:
    """Whether two runs ended in the same weights, bit for bit."""
    one, two = (load_tensors(run / "weights.safetensors")[0] for run in (a, b))
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)
