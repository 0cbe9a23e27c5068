"""A network layer by layer: output shapes, parameters and multiply-accumulates (MACs)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from imago.train.models.config import ModelConfig
from imago.train.models.registry import build_from_config
from imago.train.models.rows import LayerRow, totals

__all__ = ["LayerRow", "describe", "layer_table", "totals"]


def layer_table(module: nn.Module, input_shape: Sequence[int]) -> list[LayerRow]:
    """Run one picture of ``input_shape`` (channels, height, width) through and note every layer.

    Works on the meta device too, where nothing is computed. A layer used twice has two rows, and its
    parameters in the first.
    """
    rows: list[LayerRow] = []
    counted: set[int] = set()
    hooks = []
    for name, layer in module.named_modules():
        if not any(True for _ in layer.children()) and not isinstance(layer, nn.Identity | nn.Dropout):
            hooks.append(layer.register_forward_hook(_note(name, rows, counted)))
    device = next(module.parameters()).device
    training = module.training
    try:
        with torch.no_grad():
            module.eval()(torch.zeros(1, *input_shape, device=device))
    finally:
        module.train(training)
        for hook in hooks:
            hook.remove()
    return rows


def _note(name: str, rows: list[LayerRow], counted: set[int]) -> Any:
    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        fresh = [p for p in layer.parameters() if id(p) not in counted]
        counted.update(id(p) for p in fresh)
        params = sum(p.numel() for p in fresh)
        rows.append(
            LayerRow(name, type(layer).__name__, tuple(output.shape[1:]), params, _macs(layer, output))
        )

    return hook


def _macs(layer: nn.Module, output: Tensor) -> int:
    if isinstance(layer, nn.Conv2d):
        return output[0].numel() * layer.weight[0].numel()
    if isinstance(layer, nn.Linear):
        return output[0].numel() * layer.in_features
    return 0


def describe(config: ModelConfig) -> list[LayerRow]:
    """The layer table of a network that need not exist: built without memory or computation."""
    with torch.device("meta"):
        module = build_from_config(config).module
    return layer_table(module, (config.channels, config.height, config.width))
