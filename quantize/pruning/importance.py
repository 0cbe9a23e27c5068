"""How much each channel matters: one score per channel of every group, larger is more important.

taylor      by how much the loss changes when the channel is silenced, to first order, on real training
            pictures: mean over pictures of (Σ activation · gradient)², summed over all layers that read the
            channel (Molchanov et al. 2019)
magnitude   L2 norm of all weights that a channel has in every layer of its group, relative to the group's
            mean (Li et al. 2017; over groups: Fang et al. 2023)
bn          scale of the batch normalisation, relative to the group's mean (Liu et al. 2017, "Network
            Slimming")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_pruning.pruner.importance import BNScaleImportance, GroupMagnitudeImportance

from imago.edge_runtime.errors import InputError
from imago.quantize.pruning.wiring import ChannelGroup, Member


def magnitude(groups: Iterable[ChannelGroup]) -> list[Tensor]:
    """One float64 tensor ``(channels,)`` per group, mean 1."""
    return [_finite(GroupMagnitudeImportance(p=2)(group.handle)) for group in groups]


def bn_scale(groups: Iterable[ChannelGroup]) -> list[Tensor]:
    """As ``magnitude``; groups without batch normalisation (squeeze layers, classifiers) get their magnitude.

    Raises InputError where no group has any.
    """
    groups = list(groups)
    scale_of: Any = BNScaleImportance()  # type: ignore[no-untyped-call]
    found = [scale_of(group.handle) for group in groups]
    if all(scale is None for scale in found):
        raise InputError(
            "--importance bn needs batch normalisation, which this network does not have; "
            "use taylor or magnitude"
        )
    return [
        _finite(scale) if scale is not None else rest
        for scale, rest in zip(found, magnitude(groups), strict=True)
    ]


def taylor(
    module: nn.Module,
    groups: Iterable[ChannelGroup],
    batches: Iterable[tuple[Tensor, Tensor]],
    advance: Callable[[], None] = lambda: None,
) -> list[Tensor]:
    """One float64 tensor ``(channels,)`` per group. batches: normalised pictures and labels, on the
    module's device.

    The module stays as it is, in eval mode. advance: called after every batch.
    """
    groups = list(groups)
    sums = [torch.zeros(group.channels, dtype=torch.float64) for group in groups]
    count = 0
    readers = {m.layer for group in groups for m in group.consumers()}
    with _Taps({name: module.get_submodule(name) for name in readers}) as taps:
        for inputs, labels in batches:
            module.eval().zero_grad(set_to_none=True)
            with torch.enable_grad():
                loss = F.cross_entropy(module(inputs), labels, reduction="sum")
                effects = taps.effects(loss)
            for index, group in enumerate(groups):
                parts = [_per_channel(effects, m, group.channels) for m in group.consumers()]
                sums[index] += torch.stack(parts).sum(0).square().sum(0)
            count += len(labels)
            advance()
    return [_finite(total / max(1, count)) for total in sums]


class _Taps:
    """Keeps what flows into chosen layers during one forward pass."""

    def __init__(self, layers: dict[str, nn.Module]) -> None:
        self._layers = layers
        self._inputs: dict[str, list[Tensor]] = {}

    def __enter__(self) -> _Taps:
        self._hooks = [
            layer.register_forward_pre_hook(self._keep(name)) for name, layer in self._layers.items()
        ]
        return self

    def __exit__(self, *exc: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _keep(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], Tensor]:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
            own = inputs[0].view_as(inputs[0])  # its gradient is this layer's alone, not a residual path's
            self._inputs.setdefault(name, []).append(own)
            return own

        return hook

    def effects(self, loss: Tensor) -> dict[str, Tensor]:
        """Per layer ``(pictures, input channels)``: the loss's first-order change without that channel."""
        names = [name for name, kept in self._inputs.items() for _ in kept]
        tensors = [tensor for kept in self._inputs.values() for tensor in kept]
        self._inputs = {}
        found: dict[str, Tensor] = {}
        for name, value, slope in zip(names, tensors, torch.autograd.grad(loss, tensors), strict=True):
            effect = (value.detach() * slope).flatten(2).sum(2) if value.ndim > 2 else value.detach() * slope
            found[name] = found[name] + effect if name in found else effect
        return {name: effect.cpu().double() for name, effect in found.items()}


def _per_channel(effects: dict[str, Tensor], member: Member, channels: int) -> Tensor:
    """``(pictures, channels of the group)`` from one reader's input channels."""
    effect = effects[member.layer][:, member.channels]
    return torch.zeros(len(effect), channels, dtype=torch.float64).index_add_(1, member.roots, effect)


def _finite(scores: Tensor) -> Tensor:
    """A group of zeros has no mean to be divided by; then all its channels are worth nothing."""
    return torch.nan_to_num(scores.detach().double().cpu(), nan=0.0)
