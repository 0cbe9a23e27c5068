"""Statistics of batch normalisation, measured anew: plain averages over unchanged pictures.

The running averages of a training belong to augmented pictures, and to weights of some steps ago; after
pruning they belong to a wider network (Li et al. 2020, "EagleEye"; Wu & Johnson 2021, "precise BN").
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def recalibrate(module: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Replace the statistics by averages over ``batches`` (normalised pictures on the module's device, and
    labels, which are not used). The module ends in eval mode; nothing happens where there is no such layer.
    """
    kinds = nn.BatchNorm2d | nn.BatchNorm1d
    norms = [m for m in module.modules() if isinstance(m, kinds) and m.track_running_stats]
    if not norms:
        return
    module.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over all batches
        norm.train()
    for inputs, _ in batches:
        module(inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    module.eval()
