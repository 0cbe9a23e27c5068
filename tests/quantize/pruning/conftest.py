"""Networks with plausible weights, without training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from imago.edge_runtime.spec import InputSpec
from imago.train.checkpoint import WEIGHTS, save_tensors
from imago.train.config import TrainConfig
from imago.train.models.catalogue import MODELS
from imago.train.models.registry import ModelConfig, build_from_config
from imago.train.run import Run, library_versions, save_sample

Maker = Callable[[str], tuple[nn.Module, ModelConfig]]


def _lively(module: nn.Module) -> nn.Module:
    """Fresh networks have normalisations that do nothing; these do something, each channel another thing."""
    torch.manual_seed(5)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.2, 0.2)
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            nn.init.uniform_(layer.running_var, 0.7, 1.3)
    return module.eval()


@pytest.fixture
def network() -> Maker:
    """``network(name)``: module in eval mode and its description; 64 px (LeNet-5: 32), ten classes."""

    def make(name: str) -> tuple[nn.Module, ModelConfig]:
        info, side = MODELS[name], 32 if name == "lenet5" else 64
        torch.manual_seed(3)
        config = ModelConfig(name, 10, info.channels, side, side)
        return _lively(build_from_config(config).module), config

    return make


@pytest.fixture
def run_folder(tmp_path: Path) -> Callable[[nn.Module, ModelConfig], Path]:
    """Write a network as a finished run with noise as its sample pictures."""

    def write(module: nn.Module, config: ModelConfig) -> Path:
        folder = tmp_path / f"run-{config.name}-{len(list(tmp_path.iterdir()))}"
        color = MODELS[config.name].color
        run = Run(
            config=TrainConfig(model=config.name),
            model=config.to_dict(),
            input=InputSpec(config.width, config.height, config.channels, color),
            classes=tuple("abcdefghij"),
            mean=(0.5,),
            std=(0.5,),
            data={"root": "", "name": "noise", "fingerprint": "", "counts": {}, "generated": True},
            versions=library_versions(),
        )
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (8, config.height, config.width, config.channels), dtype=np.uint8)
        save_tensors(folder / WEIGHTS, module.state_dict())
        save_sample(folder, images, np.arange(8))
        replace(run).save(folder)
        return folder

    return write
