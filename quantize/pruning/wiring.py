"""Which channels hang together: the dependency graph of a network, reduced to groups of channels.

Removing one channel of a convolution removes it from its batch normalisation, from the depthwise layer
behind it, from the squeeze-and-excite branch, from every layer that a residual path adds it to, and from
all that read it. torch-pruning finds these chains by tracing (Fang et al. 2023, "DepGraph: Towards Any
Structural Pruning").
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch_pruning
from torch import Tensor, nn
from torch_pruning.dependency import DependencyGraph

from imago.edge_runtime.errors import InputError

Side = Literal["out", "in"]


@dataclass(frozen=True, slots=True)
class Member:
    """One side of one layer in a group. A depthwise convolution and a normalisation count as "out": what
    goes in comes out.

    per: how many of the layer's channels stand for one of the group (more than one behind a flattening).
    channels, roots: int64 ``(n,)``: channel ``channels[k]`` of the layer belongs to channel ``roots[k]``
    of the group.
    """

    layer: str
    side: Side
    per: int
    channels: Tensor
    roots: Tensor


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Channels that can only be removed together, one by one. name: the layer that stands for the group.

    handle: torch-pruning's own group, for its importance functions; out of date once anything was removed.
    """

    name: str
    channels: int
    members: tuple[Member, ...]
    handle: Any

    def consumers(self) -> tuple[Member, ...]:
        """Who reads these channels."""
        return tuple(m for m in self.members if m.side == "in")


class Wiring:
    """The groups of a network whose channels may be removed; what cannot be pruned safely is left out."""

    def __init__(self, module: nn.Module, shape: tuple[int, int, int]) -> None:
        """shape: ``(channels, height, width)`` of the input. The module is left in eval mode, on the CPU.

        Raises InputError for networks whose wiring torch-pruning cannot follow.
        """
        self.module = module.eval()
        self.names = {layer: name for name, layer in module.named_modules()}
        order = {name: k for k, name in enumerate(self.names.values())}
        try:
            with torch.enable_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                graph: Any = DependencyGraph()  # type: ignore[no-untyped-call]
                self._graph: Any = graph.build_dependency(module, torch.zeros(1, *shape), verbose=False)
                found = [self._group(handle, order) for handle in self._graph.get_all_groups()]
        except (ArithmeticError, AssertionError, LookupError, RuntimeError, ValueError) as error:
            raise InputError(
                "this network cannot be pruned: its channels are wired in a way that cannot be followed "
                "({reason}); choose another --model",
                reason=repr(error)[:120],
            ) from error
        self.groups = tuple(sorted((g for g in found if g is not None), key=lambda g: order[g.name]))
        if not self.groups:
            raise InputError("this network has no channels that could be pruned; choose another --model")

    def remove(self, group: ChannelGroup, channels: Iterable[int]) -> None:
        """Take these channels out of the network for good. All groups' scores and handles are then out of
        date, their channel numbers are not."""
        root = group.handle[0].dep
        self._graph.get_pruning_group(root.target.module, root.handler, sorted(channels)).prune()

    def _group(self, handle: Any, order: dict[str, int]) -> ChannelGroup | None:
        """None where the group touches what must not or cannot be narrowed: outputs, foreign layers."""
        size = len(handle[0].idxs)
        members = []
        for item in handle.items:
            layer = item.dep.target.module
            if isinstance(layer, nn.Parameter | torch_pruning.ops._OutputOp):
                return None
            if next(layer.parameters(), None) is None:
                continue  # a sum, a concatenation, a pooling
            outward = self._graph.is_out_channel_pruning_fn(item.dep.handler)
            member = self._member(layer, item, size, "out" if outward else "in")
            if member is None:
                return None
            members.append(member)
        if not any(m.side == "in" for m in members):
            return None  # the head: nobody reads it
        first = min((m.layer for m in members if m.side == "out"), key=order.__getitem__)
        return ChannelGroup(first, size, tuple(_once(members)), handle)

    def _member(self, layer: nn.Module, item: Any, size: int, side: Side) -> Member | None:
        if not _narrowable(layer) or len(item.idxs) % size or None in item.root_idxs:
            return None
        roots = torch.tensor(item.root_idxs)
        per = len(item.idxs) // size
        if not torch.equal(torch.bincount(roots, minlength=size), torch.full((size,), per)):
            return None
        if _transparent(layer):
            side = "out"
        return Member(self.names[layer], side, per, torch.tensor(item.idxs), roots)


def _transparent(layer: nn.Module) -> bool:
    return isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d) or (
        isinstance(layer, nn.Conv2d) and layer.groups > 1
    )


def _narrowable(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.groups == 1 or layer.groups == layer.in_channels == layer.out_channels
    return isinstance(layer, nn.Linear | nn.BatchNorm2d | nn.BatchNorm1d)


def _once(members: Sequence[Member]) -> list[Member]:
    """Depthwise layers and normalisations are listed for both sides; once is enough."""
    return list({(m.layer, m.side): m for m in members}.values())
