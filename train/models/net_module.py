"""A plan as a torch network: the layers one after the other, named as in the plan's table."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imago.train.models import layers as kinds
from imago.train.models.blocks import Inception, Residual
from imago.train.models.layers import Layer, Shape
from imago.train.models.plan import Plan, child_name


class LayeredNet(nn.Module):
    """float32 ``(N, channels, height, width)`` → logits ``(N, classes)``.

    A closing Softmax is not computed here: the loss takes logits, and the exported file has one of its own.
    """

    def __init__(self, plan: Plan) -> None:
        """plan: one that fits, with its last Linear's units filled in. Raises InputError otherwise."""
        super().__init__()
        self._steps: list[tuple[str, bool, bool]] = []  # child, flatten before it, ReLU after it
        shape: Shape = plan.input
        for index, (layer, row) in enumerate(zip(plan.layers, plan.require().rows, strict=True)):
            if isinstance(layer, kinds.Softmax):
                continue
            name = child_name(layer, index)
            self.add_module(name, _made(layer, shape))
            flatten = isinstance(layer, kinds.Linear) and len(shape) == 3
            self._steps.append((name, flatten, getattr(layer, "activation", "") == "relu"))
            shape = row.shape

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        for name, flatten, relu in self._steps:
            x = self.get_submodule(name)(x.flatten(1) if flatten else x)
            x = F.relu(x) if relu else x
        return x


class ResidualBlock(nn.Module):
    """See ``blocks.Residual``."""

    def __init__(self, inputs: int, layer: Residual) -> None:
        super().__init__()
        wide, kernel, stride = layer.channels, layer.kernel, layer.stride
        self.conv1 = nn.Conv2d(inputs, wide, kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.conv2 = nn.Conv2d(wide, wide, kernel, 1, kernel // 2, bias=False)
        self.bn2 = nn.BatchNorm2d(wide)
        self.shortcut = nn.Sequential()
        if layer.fitted(inputs):
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, wide, 1, stride, bias=False), nn.BatchNorm2d(wide)
            )

    def forward(self, x: Tensor) -> Tensor:
        """float32 ``(N, inputs, H, W)`` → ``(N, channels, H', W')``."""
        inner = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(inner + (self.shortcut(x) if len(self.shortcut) else x))


class _ConvNormReLU(nn.Module):
    def __init__(self, inputs: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, channels, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class InceptionBlock(nn.Module):
    """See ``blocks.Inception``."""

    def __init__(self, inputs: int, layer: Inception) -> None:
        super().__init__()
        wide = {"": inputs}
        for name, source, channels, kernel in layer.convolutions:
            self.add_module(name, _ConvNormReLU(wide[source], channels, kernel))
            wide[name] = channels
        self.pool = nn.MaxPool2d(3, 1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """float32 ``(N, inputs, H, W)`` → ``(N, channels, H, W)``."""
        part = self.get_submodule
        branches = (
            part("one")(x),
            part("three")(part("thin3")(x)),
            part("five")(part("thin5")(x)),
            part("pooled")(self.pool(x)),
        )
        return torch.cat(branches, 1)


class _Mean(nn.Module):
    """GlobalAvgPool: a mean over both sides, which exporters know as such."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.pool(x)).flatten(1)


def _made(layer: Layer, shape: Shape) -> nn.Module:  # noqa: PLR0911 - one line per kind
    match layer:
        case kinds.Conv2D():
            return nn.Conv2d(shape[0], layer.channels, layer.kernel, layer.stride, layer.padding)
        case kinds.MaxPool():
            return nn.MaxPool2d(layer.kernel, layer.step)
        case kinds.AvgPool():
            return nn.AvgPool2d(layer.kernel, layer.step)
        case kinds.GlobalAvgPool():
            return _Mean()
        case kinds.BatchNorm():
            return nn.BatchNorm2d(shape[0]) if len(shape) == 3 else nn.BatchNorm1d(shape[0])
        case kinds.Dropout():
            return nn.Dropout(layer.share)
        case kinds.Flatten():
            return nn.Flatten()
        case kinds.Linear():
            inputs = 1
            for side in shape:
                inputs *= side
            return nn.Linear(inputs, layer.out(shape)[0])
        case kinds.ReLU():
            return nn.ReLU()
        case Residual():
            return ResidualBlock(shape[0], layer)
        case Inception():
            return InceptionBlock(shape[0], layer)
    raise TypeError(f"no torch layer for {layer}")
