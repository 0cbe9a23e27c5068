"""Optimisers, learning-rate schedules and the weight average."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from imago.train.config import TrainConfig


def make_optimizer(config: TrainConfig, module: nn.Module) -> torch.optim.Optimizer:
    """The optimiser named in ``config`` over all parameters.

    Weight decay leaves biases and normalisation layers alone (all one-dimensional parameters).
    """
    decay = [p for p in module.parameters() if p.ndim > 1]
    plain = [p for p in module.parameters() if p.ndim <= 1]
    groups = [
        {"params": decay, "weight_decay": config.decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    lr = config.peak_lr
    match config.optimizer:
        case "sgd":
            return torch.optim.SGD(groups, lr=lr)
        case "momentum":
            return torch.optim.SGD(groups, lr=lr, momentum=config.momentum, nesterov=config.momentum > 0)
        case "adam":
            return torch.optim.Adam(groups, lr=lr, fused=_fused(module))
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=lr, momentum=config.momentum)
    return torch.optim.AdamW(groups, lr=lr, fused=_fused(module))


def _fused(module: nn.Module) -> bool:
    return next(module.parameters()).device.type in ("cpu", "cuda")


def lr_at(config: TrainConfig, step: int, steps: int) -> float:
    """Learning rate for ``step`` of ``steps``: linear warm-up, then the schedule.

    onecycle: warm-up then cosine to 0 (Smith & Topin 2018, without the momentum cycle);
    cosine: the same with at most 2 % warm-up; step: /10 at 60 % and 85 %; constant.
    """
    warmup = config.warmup if config.schedule == "onecycle" else min(config.warmup, 0.02)
    rise = int(warmup * steps)
    if step < rise:
        return config.peak_lr * (step + 1) / (rise + 1)
    done = (step - rise) / max(1, steps - rise)
    if config.schedule in ("cosine", "onecycle"):
        return config.peak_lr * 0.5 * (1 + math.cos(math.pi * done))
    if config.schedule == "step":
        return config.peak_lr * (1.0 if done < 0.6 else 0.1 if done < 0.85 else 0.01)
    return config.peak_lr


class WeightAverage:
    """Exponential moving average of all weights and buffers (Polyak averaging).

    The decay rises with the step count, so that a short run is not held back by its start.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in module.state_dict().items()}
        self._pairs: tuple[nn.Module, list[list[Tensor]]] | None = None

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move the average towards the weights after ``step`` steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        if self._pairs is None or self._pairs[0] is not module:
            self._pairs = self._paired(module)
        averages, current, counts, counters = self._pairs[1]
        if counters:
            torch._foreach_copy_(counts, counters)
        torch._foreach_lerp_(averages, current, 1 - decay)

    def _paired(self, module: nn.Module) -> tuple[nn.Module, list[list[Tensor]]]:
        """The tensors that belong together, floats and counters apart: optimisers and load_state_dict
        change them in place."""
        now = {name: value.detach() for name, value in module.state_dict().items()}
        floats = [name for name, value in now.items() if value.is_floating_point()]
        others = [name for name in now if name not in set(floats)]
        sides = [(self.state, floats), (now, floats), (self.state, others), (now, others)]
        return module, [[tensors[name] for name in names] for tensors, names in sides]


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set one learning rate on all groups."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def freeze_blocks(module: nn.Module, blocks: Iterable[str], frozen: int) -> None:
    """Freeze the first ``frozen`` blocks (named from input to output): no gradients, BatchNorm in eval."""
    for number, name in enumerate(blocks):
        block = module.get_submodule(name)
        block.requires_grad_(number >= frozen)
        if number < frozen:
            block.eval()
