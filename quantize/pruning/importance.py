"""How much each channel matters: one score per channel of every group, larger is more important.

magnitude   L2 norm of all weights that a channel has, in every layer of its group (Li et al. 2017; over groups:
            Fang et al. 2023), relative to the group's mean
bn          scale of the batch normalisation (Liu et al. 2017, "Network Slimming"), relative to the group's mean
taylor      by how much the loss changes when the channel is silenced, to first order, on real training pictures:
            the mean over pictures of (Σ activation · gradient)², summed over all layers that read the channel
            (Molchanov et al. 2019)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_pruning.pruner.importance import BNScaleImportance, GroupMagnitudeImportance

from imago.edge_runtime.errors import InputError
from imago.quantize.pruning.wiring import ChannelGroup, Member

IMPORTANCES = ("taylor", "magnitude", "bn")


def magnitude(groups: Iterable[ChannelGroup]) -> list[Tensor]:
    """One float64 tensor ``(channels,)`` per group, mean 1."""
    return [_finite(GroupMagnitudeImportance(p=2)(group.handle)) for group in groups]


def bn_scale(groups: Iterable[ChannelGroup]) -> list[Tensor]:
    """As ``magnitude``; groups without batch normalisation (squeeze layers, classifiers) get their magnitude.

    Raises InputError where no group has any.
    """
    groups = list(groups)
    found = [BNScaleImportance()(group.handle) for group in groups]
    if all(score is None for score in found):
        raise InputError(
            "--importance bn needs batch normalisation, which this network does not have; "
            "use taylor or magnitude"
        )
    return [
        _finite(score) if score is not None else rest
        for score, rest in zip(found, magnitude(groups), strict=True)
    ]


def taylor(
    module: nn.Module,
    groups: Iterable[ChannelGroup],
    batches: Iterable[tuple[Tensor, Tensor]],
    advance: Callable[[], None] = lambda: None,
) -> list[Tensor]:
    """One float64 tensor ``(channels,)`` per group. batches: normalised pictures and labels, on the module's device.

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
            for total, group in zip(sums, groups, strict=True):
                total += sum(_per_channel(effects, m, group.channels) for m in group.consumers()).square().sum(0)
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

    def _keep(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self._inputs.setdefault(name, []).append(inputs[0])

        return hook

    def effects(self, loss: Tensor) -> dict[str, Tensor]:
        """Per layer ``(pictures, input channels)``: first-order change of the loss without that input channel."""
        names = [name for name, kept in self._inputs.items() for _ in kept]
        tensors = [tensor for kept in self._inputs.values() for tensor in kept]
        self._inputs = {}
        found: dict[str, Tensor] = {}
        for name, value, slope in zip(names, tensors, torch.autograd.grad(loss, tensors), strict=True):
            effect = (value.detach() * slope).flatten(2).sum(2) if value.ndim > 2 else value.detach() * slope
            found[name] = found[name] + effect if name in found else effect
        return {name: effect.double().cpu() for name, effect in found.items()}


def _per_channel(effects: dict[str, Tensor], member: Member, channels: int) -> Tensor:
    """``(pictures, channels of the group)`` from one reader's input channels."""
    effect = effects[member.layer][:, member.channels]
    return torch.zeros(len(effect), channels, dtype=torch.float64).index_add_(1, member.roots, effect)


def _finite(scores: Tensor) -> Tensor:
    """A group of zeros has no mean to be divided by; then all its channels are worth nothing."""
    return torch.nan_to_num(scores.detach().double().cpu(), nan=0.0)
