"""``timm:NAME``: any network of the timm collection, where that package is installed."""

from __future__ import annotations

from typing import Any

from torch import nn

from imago.edge_runtime.errors import InputError, MissingDependency
from imago.edge_runtime.types import Color
from imago.train.models.catalogue import IMAGENET_MEAN, IMAGENET_STD, TIMM
from imago.train.models.config import ModelConfig


def default_input(name: str) -> tuple[int, int, int, Color]:
    """``(width, height, channels, color)`` that the network was made for."""
    channels, height, width = facts(name).get("input_size", (3, 224, 224))
    return int(width), int(height), int(channels), "rgb"


def facts(name: str) -> dict[str, Any]:
    """timm's own description of a network: input size, mean, std, whether the size is fixed."""
    timm, plain = _timm(), name.removeprefix(TIMM)
    # is_model refuses "hf-hub:…" and the like, which would fetch a description from anywhere
    if not timm.is_model(plain):
        near = timm.list_models(f"*{plain.split('.')[0][:12]}*")[:3]
        raise InputError(
            "timm has no network called {name}; nearest: {near}", name=plain, near=", ".join(near) or "?"
        )
    found = timm.get_pretrained_cfg(plain)
    return dict(found.to_dict()) if found is not None else {}


def statistics(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of 0..1 pixels that its weights expect."""
    known = facts(name)
    return tuple(known.get("mean", IMAGENET_MEAN)), tuple(known.get("std", IMAGENET_STD))


def build(config: ModelConfig, *, pretrained: bool = False) -> nn.Module:
    """The network; with ``pretrained``, its published weights. Raises InputError where it cannot be had."""
    known, plain = facts(config.name), config.name.removeprefix(TIMM)
    arguments: dict[str, Any] = {"num_classes": config.num_classes, "in_chans": config.channels}
    if known.get("fixed_input_size"):
        arguments["img_size"] = (config.height, config.width)
    try:
        module: nn.Module = _timm().create_model(plain, pretrained=pretrained, **arguments)
    except Exception as error:  # timm and the hub below it raise many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        if pretrained:
            raise InputError(
                "the weights of {name} could not be downloaded ({reason}); give a file with --weights FILE, "
                "or train without --pretrained",
                name=config.name,
                reason=reason,
            ) from error
        raise InputError(
            "timm cannot build {name} ({reason}); choose another --size or --model",
            name=config.name,
            reason=reason,
        ) from error
    return module


def head(module: nn.Module) -> str:
    """Name of the last layer, as timm notes it."""
    noted = getattr(module, "pretrained_cfg", {}).get("classifier", "")
    return str(noted[0] if isinstance(noted, list | tuple) else noted)


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise MissingDependency(
            "networks called timm:… need the timm package: pip install 'imago-edge[timm]'"
        ) from error
    return timm
