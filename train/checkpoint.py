"""The state of a run on disk: one safetensors file, written whole or not at all. Nothing is unpickled.

A checkpoint holds the network, the weight average, the optimiser's tensors and, as JSON in the file's
header, where the run stands. Random numbers need no storing: they are functions of (seed, epoch, step).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, load_file, save_file
from torch import Tensor, nn

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.files import replacing
from imago.train.optim import WeightAverage

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"
WEIGHTS = "weights.safetensors"


@dataclass(slots=True)
class Position:
    """Where a run stands. ``step`` batches of ``epoch`` are done; sums run over those batches. steps: of the
    whole run, where a coach decides on that (0: as configured)."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seen: int = 0
    seconds: float = 0.0
    best_accuracy: float = -1.0
    best_epoch: int = -1
    steps: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)


def save_checkpoint(
    folder: Path,
    position: Position,
    module: nn.Module,
    average: WeightAverage | None,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write everything that is needed to go on as if nothing had happened."""
    tensors = {f"model.{k}": v for k, v in module.state_dict().items()}
    if average is not None:
        tensors.update({f"average.{k}": v for k, v in average.state.items()})
    for index, slots in optimizer.state_dict()["state"].items():
        tensors.update({f"optim.{index}.{k}": v for k, v in slots.items() if v is not None})
    save_tensors(folder / CHECKPOINT, tensors, {"position": json.dumps(asdict(position))})


def load_checkpoint(
    folder: Path,
    content: bytes,
    module: nn.Module,
    average: WeightAverage | None,
    optimizer: torch.optim.Optimizer,
) -> Position:
    """Inverse of ``save_checkpoint``; the objects must be made from the same configuration.

    content: of the file ``CHECKPOINT`` in ``folder``, which may lie on another machine.
    """
    tensors, meta = _parsed(folder / CHECKPOINT, content)
    module.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
    if average is not None:
        for key, value in average.state.items():
            value.copy_(tensors[f"average.{key}"])
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optim."):
            _, index, slot = key.split(".", 2)
            state.setdefault(int(index), {})[slot] = _like(parameters[int(index)], value)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return Position(**json.loads(meta["position"]))


def _parsed(path: Path, content: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header of a safetensors file's ``content``."""
    try:
        size = int.from_bytes(content[:8], "little")
        meta = dict(json.loads(content[8 : 8 + size])["__metadata__"])
        return load(content), meta
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise unreadable(path, error) from error


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """``value`` in ``parameter``'s memory layout: fused optimisers walk both in the order of memory."""
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, dtype=value.dtype, device="cpu").copy_(value)


def save_tensors(path: Path, tensors: dict[str, Tensor], meta: dict[str, str] | None = None) -> None:
    """Write tensors atomically as safetensors; shared storage is written out for each name."""
    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(plain, temporary, metadata=meta or {})
        except SafetensorError as error:  # how the library reports a full disk
            raise OSError(str(error)) from error


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file: tensors on the CPU, and the header's strings."""
    try:
        with safe_open(path, framework="pt") as file:
            meta = dict(file.metadata() or {})
        return load_file(path), meta
    except FileNotFoundError as error:
        raise InputError("no such weights file: {path}", path=path) from error
    except (SafetensorError, OSError, ValueError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> InputError:
    """The error for a damaged weights file."""
    return InputError(
        "{path} is not a readable safetensors file ({reason}); train again or copy it again",
        path=path,
        reason=error,
    )
