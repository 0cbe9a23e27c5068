"""Several processes that train one network: each takes a part of every batch, the gradients are averaged.

PyTorch's DistributedDataParallel does the averaging (gloo between CPUs, NCCL between GPUs). What the
processes have to agree on besides, a few numbers per step, goes over gloo. All random numbers are functions
of (seed, epoch, step), so the processes hold the same state at every step: the first one's checkpoint is
everybody's, and it alone writes files.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from imago.edge_runtime.errors import DataError
from imago.train.launch import LOCAL_RANK, LOCAL_WORLD, RANK, RENDEZVOUS, WORLD, WorkersError, hidden

PATIENCE = timedelta(minutes=30)  # a machine that went silent is given up after this time
PREPARING = timedelta(days=2)  # the first process of a machine decodes the pictures; the others wait for it
PARTS = 8  # numbers per message: see ``agree``


@dataclass(frozen=True, slots=True)
class Team:
    """This process among those that train together.

    rank: 0 is the chief, which writes the files. local: rank on this machine, of ``local_world`` there.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    local_world: int = 1

    @property
    def chief(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def parallel(self, module: nn.Module) -> nn.Module:
        """``module`` with gradients averaged over the team; to be made anew when other weights learn."""
        if self.world == 1:
            return module
        device = next(module.parameters()).device
        ids = [device.index] if device.type == "cuda" else None
        with self.talking():
            return DistributedDataParallel(module, device_ids=ids, **_buffers_stay())

    def agree(self, *values: float) -> tuple[float, ...]:
        """Sum of each value over the team."""
        if self.world == 1:
            return values
        shared = torch.tensor(values, dtype=torch.float64)
        with self.talking():
            dist.all_reduce(shared, group=_small_talk())
        return tuple(shared.tolist())

    def total(self, *tensors: Tensor) -> list[Tensor]:
        """Sum of each tensor over the team; for MPS and CUDA on the way through the CPU."""
        if self.world == 1:
            return list(tensors)
        summed = [tensor.detach().cpu().double() for tensor in tensors]
        with self.talking():
            for tensor in summed:
                dist.all_reduce(tensor, group=_small_talk())
        return summed

    def require_same(self, fingerprint: str) -> None:
        """Raise DataError where machines have different pictures."""
        if self.world == 1:
            return
        digits = torch.tensor(list(bytes.fromhex(fingerprint)[:PARTS]), dtype=torch.int64)
        low, high = digits.clone(), digits.clone()
        with self.talking():
            dist.all_reduce(low, dist.ReduceOp.MIN, group=_small_talk())
            dist.all_reduce(high, dist.ReduceOp.MAX, group=_small_talk())
        if not torch.equal(low, high):
            raise DataError(
                "the machines do not have the same pictures; copy one data set to all of them, under one path"
            )

    def share(self, path: Path) -> bytes:
        """The content of the chief's file ``path``; empty where it has none."""
        content = path.read_bytes() if self.chief and path.is_file() else b""
        if self.world == 1:
            return content
        size = torch.tensor([len(content)], dtype=torch.int64)
        with self.talking():
            dist.broadcast(size, 0, group=_small_talk())
            data = torch.zeros(int(size), dtype=torch.uint8)
            if self.chief and content:
                data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
            if len(data):
                dist.broadcast(data, 0, group=_small_talk())
        return bytes(data.numpy())

    def in_turn(self) -> contextlib.AbstractContextManager[None]:
        """What is done within, the first process of each machine does first: the others find it done."""
        return _in_turn(self)

    @contextlib.contextmanager
    def talking(self) -> Iterator[None]:
        """A lost connection becomes one clear error."""
        try:
            yield
        except RuntimeError as error:
            if self.world == 1 or not _is_lost(error):
                raise
            raise lost() from error


SOLO = Team()
_state: dict[str, Any] = {}


def lost() -> WorkersError:
    """The error of a process whose partners are gone; silent where the launcher will say which one it was."""
    if hidden():
        return WorkersError("lost contact with the other processes of this training")
    return WorkersError(
        "lost contact with the other processes of this training: one of them ended, or the network broke; "
        "nothing is lost, go on with imago train --resume and the same flags"
    )


def join(*, cuda: bool) -> Team:
    """Meet the other processes, as the environment says (torchrun's variables, or imago's own launcher)."""
    env = os.environ
    team = Team(int(env[RANK]), int(env[WORLD]), int(env[LOCAL_RANK]), int(env.get(LOCAL_WORLD, env[WORLD])))
    method = env.get(RENDEZVOUS, "env://")
    with team.talking():
        store, _, _ = next(rendezvous(method, team.rank, team.world, timeout=PATIENCE))
        dist.init_process_group(
            "nccl" if cuda else "gloo", store=store, rank=team.rank, world_size=team.world, timeout=PATIENCE
        )
        _state["store"], _state["met"] = store, True
        _state["group"] = dist.new_group(backend="gloo", timeout=PATIENCE) if cuda else None
    return team


def leave() -> None:
    """Part from the team; safe to call when there is none."""
    for key in ("store", "group", "turns"):
        _state.pop(key, None)
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def has_met() -> bool:
    """Whether this process has ever been one of several."""
    return bool(_state.get("met"))


def _buffers_stay() -> dict[str, Any]:
    """Nobody's BatchNorm statistics replace another's: they are the same. torch renamed the flag."""
    names = inspect.signature(DistributedDataParallel.__init__).parameters
    return {"forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers": False}


def _small_talk() -> Any:
    return _state.get("group")


@contextlib.contextmanager
def _in_turn(team: Team) -> Iterator[None]:
    if team.world == 1:
        yield
        return
    number = _state["turns"] = _state.get("turns", 0) + 1
    key = f"imago-turn-{number}-{team.rank - team.local}"
    with team.talking():
        if team.local:
            _state["store"].wait([key], PREPARING)
    yield
    with team.talking():
        if not team.local:
            _state["store"].set(key, "done")


def _is_lost(error: RuntimeError) -> bool:
    """gloo raises plain RuntimeErrors that name its source files; the others have a class of their own."""
    return isinstance(error, dist.DistError) or any(
        word in str(error) for word in ("gloo", "Connection", "NCCL", "Broken pipe", "Socket")
    )


class SharedBatchNorm(nn.BatchNorm2d):
    """BatchNorm over the whole team's batch, on any device (torch.nn.SyncBatchNorm knows accelerators only).

    Mean first, then the mean square around it: two small messages, and no loss of digits.
    """

    def forward(self, x: Tensor) -> Tensor:
        """float ``(N, C, H, W)``; as nn.BatchNorm2d of all processes' pictures together."""
        if not self.training or not dist.is_initialized():
            return super().forward(x)
        from torch.distributed.nn.functional import all_reduce

        axes, shape = (0, 2, 3), (1, -1, 1, 1)
        count = torch.tensor([x.numel() / x.shape[1]], dtype=x.dtype, device=x.device)
        sums: Tensor = all_reduce(torch.cat([x.sum(axes), count]))  # type: ignore[no-untyped-call]
        mean, total = sums[:-1] / sums[-1].detach(), sums[-1].detach()
        centred = x - mean.view(shape)
        squares: Tensor = all_reduce(centred.square().sum(axes))  # type: ignore[no-untyped-call]
        variance = squares / total
        self._follow(mean.detach(), variance.detach() * total / (total - 1).clamp(min=1))
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        out = centred * scale.view(shape)
        return out + self.bias.view(shape) if self.bias is not None else out

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


def share_batch_norm(module: nn.Module) -> None:
    """Let every BatchNorm2d of ``module`` see the whole team's batch; names and weights stay."""
    for part in module.modules():
        if type(part) is nn.BatchNorm2d:
            part.__class__ = SharedBatchNorm
