"""torchvision's networks, fitted to class count, grey input and small pictures."""

from __future__ import annotations

from typing import cast

from torch import nn

from imago.edge_runtime.errors import InputError
from imago.train.models.catalogue import ModelInfo
from imago.train.models.config import ModelConfig

ALEXNET_MAP = 6
ALEXNET_SIDE = 223  # the smallest input that gives it


def build(info: ModelInfo, config: ModelConfig) -> nn.Module:
    """The network with fresh weights. Raises InputError where the input is too small."""
    module = _drawn(info, config) if config.width_mult == 1 else _scaled(info, config)
    if config.channels == 1:
        _grey_input(module)
    for name in info.halvings[: config.stem]:
        _take_out(module, name)
    if info.name == "alexnet":
        _fit_alexnet(module, config)
    return module


def _drawn(info: ModelInfo, config: ModelConfig) -> nn.Module:
    from torchvision import models

    arguments: dict[str, bool] = {}
    if info.family == "Inception":  # auxiliary heads only serve very long trainings from nothing
        arguments = {"aux_logits": False, "init_weights": False}
    module: nn.Module = models.get_model(
        info.builder, weights=None, num_classes=config.num_classes, **arguments
    )
    return module


def _scaled(info: ModelInfo, config: ModelConfig) -> nn.Module:
    """With other channel counts, rounded to multiples of 8 by torchvision's own rule.

    Only MobileNetV2's constructor takes the factor; for the others it is an argument of the functions that
    make their tables of layers, which torchvision keeps to itself (a test holds us to their results).
    """
    from torchvision.models import efficientnet, mobilenetv2, mobilenetv3

    classes, factor = config.num_classes, config.width_mult
    if info.family == "EfficientNet":
        table, last = efficientnet._efficientnet_conf(info.builder, width_mult=factor, depth_mult=1.0)
        return efficientnet.EfficientNet(table, 0.2, last_channel=last, num_classes=classes)
    if info.builder == "mobilenet_v2":
        return mobilenetv2.MobileNetV2(num_classes=classes, width_mult=factor)
    table, last = mobilenetv3._mobilenet_v3_conf(info.builder, width_mult=factor)
    return mobilenetv3.MobileNetV3(table, last, num_classes=classes)


def quick_batch_norm(module: nn.Module) -> None:
    """Running statistics that follow within tens of steps, for training from nothing.

    MobileNetV3 keeps 99 % of the old value at every step, made for ImageNet's 100,000s of steps: after a
    short run on a few hundred photos its statistics would still be half those of the random start.
    """
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.momentum is not None:
            layer.momentum = max(layer.momentum, 0.1)


def first_conv(module: nn.Module) -> str:
    """Name of the convolution that sees the picture."""
    return next(str(name) for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d))


def _grey_input(module: nn.Module) -> None:
    """One input channel that answers as the three did to r = g = b: the initial spread stays right."""
    conv = cast(nn.Conv2d, module.get_submodule(first_conv(module)))
    conv.in_channels = 1
    conv.weight = nn.Parameter(conv.weight.detach().sum(1, keepdim=True))


def _take_out(module: nn.Module, name: str) -> None:
    """Halve the stride of a convolution; put an identity in place of a pooling."""
    layer = module.get_submodule(name)
    if isinstance(layer, nn.Conv2d):
        layer.stride = tuple(max(1, s // 2) for s in layer.stride)
    else:
        _replace(module, name, nn.Identity())


def _fit_alexnet(module: nn.Module, config: ModelConfig) -> None:
    """Plain layers instead of the adaptive pooling to 6×6, which has no ONNX form for most sizes.

    Maps of 6 pixels and more are averaged to 6 (at 224 px nothing is left to average: the same
    function as torchvision's); smaller ones go to the classifier as they are.
    """
    maps = _last_map(module.get_submodule("features"), (config.height, config.width))
    kernels = (max(1, maps[0] - ALEXNET_MAP + 1), max(1, maps[1] - ALEXNET_MAP + 1))
    module.avgpool = nn.Identity() if kernels == (1, 1) else nn.AvgPool2d(kernels, 1)
    wanted = 256 * min(maps[0], ALEXNET_MAP) * min(maps[1], ALEXNET_MAP)
    dense = cast(nn.Linear, module.get_submodule("classifier.1"))
    if dense.in_features != wanted:
        _replace(module, "classifier.1", nn.Linear(wanted, dense.out_features))


def _last_map(layers: nn.Module, side: tuple[int, int]) -> list[int]:
    """Height and width of the last map for an input of ``side`` (height, width)."""
    extent = list(side)
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            for axis in (0, 1):
                kernel, stride, padding = (
                    _at(v, axis) for v in (layer.kernel_size, layer.stride, layer.padding)
                )
                extent[axis] = (extent[axis] + 2 * padding - kernel) // stride + 1
    return extent


def _at(value: object, axis: int) -> int:
    return int(value[axis]) if isinstance(value, tuple) else int(str(value))


def _replace(module: nn.Module, name: str, fresh: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    owner = module.get_submodule(parent) if parent else module
    if isinstance(owner, nn.Sequential) and child.isdigit():
        owner[int(child)] = fresh
    else:
        setattr(owner, child, fresh)


def check_pretrained_size(info: ModelInfo, width: int, height: int) -> None:
    """AlexNet's pretrained classifier needs the full 6×6 map. Raises InputError."""
    if info.name == "alexnet" and min(width, height) < ALEXNET_SIDE:
        raise InputError(
            "alexnet with ImageNet weights needs inputs of at least {least}×{least} pixels, "
            "not {width}×{height}; give --size 224",
            least=ALEXNET_SIDE,
            width=width,
            height=height,
        )
