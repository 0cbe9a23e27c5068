"""Which device trains, in which precision, with how many threads."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch

from imago.edge_runtime.errors import InputError
from imago.train.config import TrainConfig


@dataclass(frozen=True, slots=True)
class Place:
    """A resolved device. autocast: the reduced dtype of matrix work, or None for plain float32."""

    device: torch.device
    autocast: torch.dtype | None = None

    def __str__(self) -> str:
        precision = {torch.bfloat16: "bf16", None: "fp32"}[self.autocast]
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return f"{name}, {precision}"

    def context(self) -> contextlib.AbstractContextManager[None]:
        """The autocast context of one forward pass."""
        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast)


def choose_place(config: TrainConfig) -> Place:
    """CUDA, else MPS, else CPU, unless the configuration names one; sets torch's thread count."""
    if config.threads:
        torch.set_num_threads(config.threads)
    kind = config.device if config.device != "auto" else _best()
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available[kind]:
        raise InputError("--device {device} is not available on this machine; use auto or cpu", device=kind)
    device = torch.device(kind)
    wants_bf16 = config.precision == "bf16" or (
        config.precision == "auto" and kind == "cuda" and torch.cuda.is_bf16_supported()
    )
    return Place(device, torch.bfloat16 if wants_bf16 else None)


def _best() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
