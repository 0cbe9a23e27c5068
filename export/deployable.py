"""The network as it ships, whatever the file format: normalisation, temperature and softmax inside."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from imago.edge_runtime.types import F32, U8


class Deployable(nn.Module):
    """The network as it ships: uint8 ``(1, C, H, W)`` in, probabilities float32 ``(1, classes)`` out."""

    def __init__(
        self,
        module: nn.Module,
        channels: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        temperature: float,
    ) -> None:
        super().__init__()
        self.module = module
        self.temperature = temperature
        spread = torch.tensor(std).expand(channels)
        middle = torch.tensor(mean).expand(channels)
        self.gain: Tensor
        self.offset: Tensor
        self.register_buffer("gain", (1 / (255 * spread))[None, :, None, None].clone())
        self.register_buffer("offset", (-middle / spread)[None, :, None, None].clone())

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        logits = self.module(image.float() * self.gain + self.offset)
        return torch.softmax(logits / self.temperature, dim=1)


@torch.inference_mode()
def torch_probabilities(deployable: nn.Module, images: U8) -> F32:
    """What torch says: float32 ``(n, classes)`` for uint8 ``(n, H, W, C)``."""
    rows = [deployable(torch.from_numpy(i.transpose(2, 0, 1)[None].copy())) for i in images]
    return torch.cat(rows).numpy()
