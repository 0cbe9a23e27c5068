"""Mixing pictures of a batch: mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019), and growing pictures.

Drawn from (seed, step) alone, like everything random in a training. Each process mixes within its own part.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from imago.train.config import TrainConfig

SMALLEST = 0.5  # share of the side with which growing pictures begin
MULTIPLE = 8  # sides of growing pictures: whole numbers of the networks' cells


@dataclass(frozen=True, slots=True)
class Mix:
    """A batch whose pictures hold a second one. order: whose picture is mixed in; share: of the first one."""

    inputs: Tensor
    order: Tensor | None = None
    share: float = 1.0

    def loss(self, of: Callable[[Tensor], Tensor], targets: Tensor) -> Tensor:
        """The loss ``of`` both labels, weighted by their share of the picture."""
        if self.order is None:
            return of(targets)
        return self.share * of(targets) + (1 - self.share) * of(targets[self.order])


def mix(config: TrainConfig, inputs: Tensor, seed: int) -> Mix:
    """Mix ``inputs`` float ``(N, C, H, W)`` as ``config`` says; one of the two where both are wanted."""
    if not config.mixup and not config.cutmix:
        return Mix(inputs)
    rng = np.random.default_rng(seed)
    cut = config.cutmix > 0 and (not config.mixup or rng.random() < 0.5)
    strength = config.cutmix if cut else config.mixup
    share = float(rng.beta(strength, strength))
    order = torch.from_numpy(rng.permutation(len(inputs))).to(inputs.device)
    if not cut:
        return Mix(torch.lerp(inputs[order], inputs, share), order, share)
    height, width = inputs.shape[2:]
    top, bottom = _span(rng, height, math.sqrt(1 - share))
    left, right = _span(rng, width, math.sqrt(1 - share))
    mixed = inputs.clone()
    mixed[:, :, top:bottom, left:right] = inputs[order, :, top:bottom, left:right]
    return Mix(mixed, order, 1 - (bottom - top) * (right - left) / (height * width))


def _span(rng: np.random.Generator, side: int, share: float) -> tuple[int, int]:
    centre, half = int(rng.integers(side)), int(side * share) // 2
    return max(0, centre - half), min(side, centre + half)


def grown(config: TrainConfig, inputs: Tensor, progress: float) -> Tensor:
    """The pictures at the size that belongs to ``progress`` 0..1 of the training: half the side at first,
    the whole from ``config.grow`` of the training on (progressive resizing)."""
    if progress >= config.grow:
        return inputs
    part = SMALLEST + (1 - SMALLEST) * progress / config.grow
    sides = [max(MULTIPLE, int(side * part) // MULTIPLE * MULTIPLE) for side in inputs.shape[2:]]
    if all(now >= whole for now, whole in zip(sides, inputs.shape[2:], strict=True)):
        return inputs
    small = F.interpolate(inputs, sides, mode="bilinear", antialias=True)
    return small.contiguous(memory_format=torch.channels_last)
