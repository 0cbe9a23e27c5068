"""Pruned networks: which layers are narrower than the network's own, and how to build them so.

Reading a pruned run needs no pruning library: the original is built, then its layers are cut to the recorded
widths. What pruning leaves alone (strides, residual paths, activations) comes from the original.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from imago.edge_runtime.errors import ModelError

Widths = tuple[int, ...]


def widths(layer: nn.Module) -> Widths:
    """``(out, in, groups)`` of a convolution, ``(out, in)`` of a dense layer, ``(features,)`` of a batch
    normalisation; empty for everything else."""
    if isinstance(layer, nn.Conv2d):
        return layer.out_channels, layer.in_channels, layer.groups
    if isinstance(layer, nn.Linear):
        return layer.out_features, layer.in_features
    if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
        return (layer.num_features,)
    return ()


def layout(module: nn.Module, original: nn.Module) -> dict[str, Widths]:
    """Widths by layer name, where ``module`` differs from ``original``.

    Raises ModelError where they differ in anything that widths cannot say.
    """
    own = dict(original.named_modules())
    found = {name: widths(layer) for name, layer in module.named_modules()}
    different = {name: wide for name, wide in found.items() if wide and wide != widths(own[name])}
    twin = copy.deepcopy(original)
    narrow(twin, different)
    if _shapes(twin) != _shapes(module):
        raise ModelError(
            "this pruned network cannot be described by its widths alone ({names})",
            names=", ".join(sorted(k for k, v in _shapes(module).items() if _shapes(twin).get(k) != v)[:3]),
        )
    return different


def narrow(module: nn.Module, arch: Mapping[str, Widths]) -> None:
    """Cut the layers of ``module`` to the widths in ``arch``, in place; of every layer the first channels
    stay.

    Raises ModelError for names and widths that do not belong to this network.
    """
    for name, wide in arch.items():
        try:
            layer = module.get_submodule(name)
        except AttributeError:
            layer = module
        _check(name, widths(layer), wide)
        _cut(layer, wide)


def check_forward(module: nn.Module, shape: tuple[int, int, int]) -> None:
    """Raises ModelError where the layers' widths do not fit together. shape: ``(channels, height, width)``.

    Nothing is computed: the check runs on the meta device.
    """
    try:
        with torch.no_grad():
            copy.deepcopy(module).to("meta").eval()(torch.zeros(1, *shape, device="meta"))
    except RuntimeError as error:
        raise ModelError(
            "the widths in the description of the pruned network do not fit together ({reason}); "
            "copy the run again, or prune again",
            reason=str(error).splitlines()[0][:200],
        ) from error


def _check(name: str, own: Widths, wide: Widths) -> None:
    fits = len(own) == len(wide) > 0 and all(1 <= w <= o for w, o in zip(wide, own, strict=True))
    if fits and len(wide) == 3:
        out, into, groups = wide
        depthwise = own[2] == own[0] == own[1] > 1
        fits = (
            (out == into == groups) if depthwise else groups == own[2] and not (out % groups or into % groups)
        )
    if not fits:
        raise ModelError(
            "the description of the pruned network is not usable: "
            "layer {name} cannot have the widths {widths}",
            name=name,
            widths=list(wide),
        )


def _cut(layer: nn.Module, wide: Widths) -> None:
    """Changed in place, so that subclasses and everything but the widths stay as they are."""
    if isinstance(layer, nn.Conv2d):
        layer.out_channels, layer.in_channels, layer.groups = wide
        _shorten(layer, (wide[0], wide[1] // wide[2]))
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = wide
        _shorten(layer, wide)
    elif isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
        (layer.num_features,) = wide
        _shorten(layer, wide)


def _shorten(layer: nn.Module, extent: Widths) -> None:
    """First ``extent`` entries of each of the layer's tensors along its first dimensions."""
    for name, value in list(_tensors(layer)):
        part = value.detach()[tuple(slice(n) for n in extent[: value.ndim])].clone()
        if isinstance(value, nn.Parameter):
            setattr(layer, name, nn.Parameter(part, requires_grad=value.requires_grad))
        else:
            layer.register_buffer(name, part)


def _tensors(layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from layer.named_parameters(recurse=False)
    for name, value in layer.named_buffers(recurse=False):
        if value.ndim:  # not num_batches_tracked
            yield name, value


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in module.state_dict().items()}
