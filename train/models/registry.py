"""A network by name: built, fitted to classes and input, filled with weights, described for rebuilding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.types import Color
from imago.train.models.catalogue import (
    HALF,
    MODELS,
    TIMM,
    ModelInfo,
    check_side,
    check_width,
    model_info,
    stem_for,
)
from imago.train.models.config import ModelConfig
from imago.train.models.plan import NET, plan_of

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "MODELS",
    "BuiltModel",
    "ModelConfig",
    "ModelInfo",
    "build_from_config",
    "build_model",
    "default_input",
    "default_stem",
]

CONTAINERS = ("features", "classifier", "blocks", "stages")  # freezing goes by the parts of these


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """A network ready to train.

    module: float32 ``(N, channels, height, width)``, normalised, → logits ``(N, num_classes)``.
    mean, std: pixels are given as ``(pixel / 255 − mean) / std``; one value, or one per channel.
    blocks: names of the parts that hold weights, from the input to the head (the last). notes: what the
    user should know about weights that were loaded.
    """

    module: nn.Module
    config: ModelConfig
    mean: tuple[float, ...]
    std: tuple[float, ...]
    blocks: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def head(self) -> str:
        """Name of the last layer."""
        return self.blocks[-1]


def default_input(name: str) -> tuple[int, int, int, Color]:
    """``(width, height, channels, color)`` of a network's own input. Raises InputError for unknown names."""
    if name.startswith(TIMM):
        from imago.train.models import timm_nets

        return timm_nets.default_input(name)
    return model_info(name).input


def default_stem(name: str, width: int, height: int) -> int:
    """How many early halvings a training from nothing does without (``catalogue.stem_for``)."""
    if name.startswith(TIMM) or not model_info(name).halvings:
        return 0
    return stem_for(model_info(name), width, height)


def build_model(
    name: str,
    num_classes: int,
    *,
    channels: int,
    size: tuple[int, int],
    pretrained: bool = False,
    weights: Path | None = None,
    stem: int | None = None,
    width_mult: float = 1.0,
) -> BuiltModel:
    """Build ``name`` for ``num_classes`` and inputs of ``size`` (width, height) pixels.

    pretrained: start from ImageNet weights, downloaded. weights: start from this file instead. stem: see
    ``catalogue.stem_for``, which decides it where None is given. width_mult: factor on the channel counts.
    Random numbers come from torch's default generator.

    Raises InputError (name, size, width, weights) and MissingDependency (timm).
    """
    check_width(name, width_mult)
    width, height = size
    ready = pretrained or weights is not None
    if name.startswith(TIMM):
        config = ModelConfig(name, num_classes, channels, width, height)
        return _build_timm(config, pretrained and weights is None, weights)
    info = model_info(name)
    check_side(info, width, height)
    if pretrained and weights is None and (not info.pretrained or width_mult != 1):
        raise InputError(
            "there are no ImageNet weights for {model}; train without --pretrained, or give --weights FILE",
            model=name if width_mult == 1 else f"{name} --width {width_mult:g}",
        )
    if stem is None:
        stem = 0 if ready else default_stem(name, width, height)
    built = build_from_config(
        ModelConfig(name, num_classes, channels, width, height, stem, width_mult=width_mult)
    )
    if not ready:
        if info.builder:
            from imago.train.models.torchvision_nets import quick_batch_norm

            quick_batch_norm(built.module)
        return built
    return _fill(built, info, weights)


def build_from_config(config: ModelConfig) -> BuiltModel:
    """The same network again, pruned where it was pruned, with fresh weights.

    Raises ModelError where the description does not fit the network.
    """
    built = _whole(config)
    if config.arch:
        from imago.train.models.pruned import check_forward, narrow

        narrow(built.module, config.arch)
        check_forward(built.module, (config.channels, config.height, config.width))
    return built


def _whole(config: ModelConfig) -> BuiltModel:
    """The network as its authors drew it."""
    if config.name.startswith(TIMM):
        return _build_timm(config, False, None)
    if config.name.startswith(NET):
        from imago.train.models.net_module import LayeredNet

        return _built(LayeredNet(plan_of(config)), config, HALF, HALF)
    info = model_info(config.name)
    check_side(info, config.width, config.height)
    check_width(config.name, config.width_mult)
    if info.builder:
        from imago.train.models import torchvision_nets

        module = torchvision_nets.build(info, config)
    else:
        from imago.train.models.lenet import LeNet5

        module = LeNet5(
            config.num_classes, channels=config.channels, width=config.width, height=config.height
        )
    return _built(module, config, info.mean, info.std)


def _built(
    module: nn.Module,
    config: ModelConfig,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    notes: tuple[str, ...] = (),
) -> BuiltModel:
    """mean and std for a grey input are the means over the colour channels (see ``weights.fold_grey``)."""
    if config.channels == 1:
        mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
    return BuiltModel(module, config, mean, std, tuple(blocks_of(module)), notes)


def blocks_of(module: nn.Module) -> Iterator[str]:
    """Names of the parts of ``module`` that hold weights, in order; sequences of layers part by part."""
    for name, child in module.named_children():
        if name in CONTAINERS and list(child.children()):
            for part, layer in child.named_children():
                if any(True for _ in layer.parameters()):
                    yield f"{name}.{part}"
        elif any(True for _ in child.parameters()):
            yield name


def _fill(built: BuiltModel, info: ModelInfo, file: Path | None) -> BuiltModel:
    from imago.train.models import torchvision_nets
    from imago.train.models.weights import download_weights, fit_weights, read_weights

    if file is not None:
        state, source = read_weights(file), str(file)
    else:
        from torchvision import models

        torchvision_nets.check_pretrained_size(info, built.config.width, built.config.height)
        published: Any = models.get_model_weights(info.builder)
        source = str(published.DEFAULT.url)
        state = download_weights(source)
    notes = fit_weights(
        built.module,
        state,
        head=built.head,
        first=torchvision_nets.first_conv(built.module),
        grey=info.std if info.std != HALF else (),
        source=source,
    )
    return _built(built.module, built.config, info.mean, info.std, tuple(notes))


def _build_timm(config: ModelConfig, pretrained: bool, file: Path | None) -> BuiltModel:
    from imago.train.models import timm_nets

    mean, std = timm_nets.statistics(config.name)
    module = timm_nets.build(config, pretrained=pretrained)
    built = _built(module, config, mean, std)
    if file is None:
        return built
    from imago.train.models.weights import fit_weights, read_weights

    notes = fit_weights(
        module, read_weights(file), head=timm_nets.head(module) or built.head, source=str(file)
    )
    return _built(module, config, mean, std, tuple(notes))
