"""What a configuration has to be to suit the data, the network and the processes that train."""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from imago.edge_runtime.errors import InputError
from imago.train.config import TrainConfig
from imago.train.mixing import grown
from imago.train.models.registry import BuiltModel
from imago.train.team import Team

IMBALANCE = 3.0  # largest class : smallest class, from which "auto" weighs rare classes up


def check_growing(config: TrainConfig, module: nn.Module, shape: tuple[int, ...]) -> None:
    """A network that takes pictures of one size cannot begin with smaller ones. Raises InputError."""
    if not config.grow:
        return
    picture = torch.zeros(2, shape[3], shape[1], shape[2])
    try:
        with torch.no_grad():
            copy.deepcopy(module).cpu().eval()(grown(config, picture, 0.0))
    except RuntimeError as error:
        raise InputError(
            "--grow {grow}: {model} takes pictures of one size only; leave out --grow or choose another "
            "--model",
            grow=config.grow,
            model=config.model,
        ) from error


def check_parts(config: TrainConfig, count: int, team: Team) -> None:
    """Every process needs pictures in every batch. Raises InputError."""
    smallest = count // max(1, -(-count // min(config.batch_size, count)))
    if smallest < team.world:
        raise InputError(
            "{world} processes cannot share batches of {count} pictures; give a larger --batch-size or "
            "fewer --devices",
            world=team.world,
            count=smallest,
        )


def frozen_blocks(config: TrainConfig, built: BuiltModel) -> int:
    """How many blocks start frozen; the last block is the head, which always learns."""
    if config.freeze == "none":
        return 0
    if config.freeze == "backbone":
        return len(built.blocks) - 1
    count = int(config.freeze)
    if count >= len(built.blocks):
        raise InputError(
            "--freeze {count}: {model} has {blocks} blocks and the last one must learn; give at most {most}",
            count=count,
            model=config.model,
            blocks=len(built.blocks),
            most=len(built.blocks) - 1,
        )
    return count


def class_weights(config: TrainConfig, labels: npt.NDArray[np.int64], classes: int) -> Tensor | None:
    """Weights in inverse proportion to class size, mean 1 over the pictures; None for equal weights."""
    counts = np.bincount(labels, minlength=classes)
    uneven = counts.max() >= IMBALANCE * max(1, counts.min())
    if config.class_weights == "off" or (config.class_weights == "auto" and not uneven):
        return None
    weights = len(labels) / (classes * np.maximum(counts, 1))
    return torch.from_numpy(weights.astype(np.float32))
