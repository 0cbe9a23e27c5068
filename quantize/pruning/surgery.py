"""One cut: which channels matter least, out with them, statistics measured anew. No training here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import Progress
from imago.quantize.calibration import Pictures
from imago.quantize.pruning.cost import CostModel
from imago.quantize.pruning.goal import Cost, Goal
from imago.quantize.pruning.importance import bn_scale, magnitude, taylor
from imago.quantize.pruning.plan import Limits, choose, least, limits
from imago.quantize.pruning.wiring import Wiring
from imago.train.batches import Normalise
from imago.train.bn_statistics import recalibrate
from imago.train.models.pruned import layout, widths
from imago.train.models.registry import ModelConfig, build_from_config

BATCH = 32  # pictures at once while gradients are taken


@dataclass(frozen=True, slots=True)
class Feed:
    """Real training pictures, unchanged but for normalisation, for measurements on a network."""

    pictures: Pictures
    normalise: Normalise
    device: torch.device

    def __len__(self) -> int:
        return (len(self.pictures) + BATCH - 1) // BATCH

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches: float32 ``(B, C, H, W)`` and labels int64 ``(B,)``, on the device."""
        gain, offset = self.normalise.gain_offset(self.pictures.images.shape[3])
        for start in range(0, len(self.pictures), BATCH):
            pixels = torch.from_numpy(self.pictures.images[start : start + BATCH]).permute(0, 3, 1, 2)
            labels = torch.from_numpy(self.pictures.labels[start : start + BATCH])
            yield torch.addcmul(offset, pixels.float(), gain).to(self.device), labels.to(self.device)


class Patient:
    """A network on the table: what it costs, what it could be cut down to, and the cut itself."""

    def __init__(self, module: nn.Module, config: ModelConfig) -> None:
        """module: the network that ``config`` describes, with its weights, on the CPU; ``cut`` changes it.

        Raises InputError for networks that cannot be pruned.
        """
        self.module, self.config = module, config
        shape = (config.channels, config.height, config.width)
        self._wiring = Wiring(module, shape)
        self._original = build_from_config(replace(config, arch={})).module
        self._limits = [self._limit(group.name) for group in self._wiring.groups]
        self._costs = CostModel(module, shape, self._wiring.groups)

    @property
    def cost(self) -> Cost:
        """As it is now."""
        return self._costs.cost()

    @property
    def least(self) -> Cost:
        """With the fewest channels that every layer must keep."""
        sizes = [group.channels for group in self._wiring.groups]
        return self._costs.cost(least(sizes, self._limits))

    def require(self, importance: str) -> None:
        """Raises InputError where this network has nothing that ``importance`` could go by."""
        if importance == "bn":
            bn_scale(self._wiring.groups)

    def cut(self, goal: Goal, importance: str, feed: Feed) -> ModelConfig:
        """Remove the channels that matter least until the goal is met; returns the description of what is
        left.

        Only once per patient: afterwards the groups are out of date.
        """
        groups = self._wiring.groups
        scores = self._scores(importance, feed)
        gone = choose(scores, self._costs, self._limits, goal, priced=importance == "taylor")
        for group, channels in zip(groups, gone, strict=True):
            if channels:
                self._wiring.remove(group, channels)
        recalibrate(self.module.to(feed.device), feed)
        self.module.cpu()
        return replace(self.config, arch=layout(self.module, self._original))

    def _scores(self, importance: str, feed: Feed) -> list[Tensor]:
        if importance == "magnitude":
            return magnitude(self._wiring.groups)
        if importance == "bn":
            return bn_scale(self._wiring.groups)
        self.module.to(feed.device)
        with Progress(len(feed), tr("weighing channels")) as bar:
            scores = taylor(self.module, self._wiring.groups, feed, bar.advance)
        self.module.cpu()
        return scores

    def _limit(self, layer: str) -> Limits:
        return limits(self.config.name, widths(self._original.get_submodule(layer))[0])
