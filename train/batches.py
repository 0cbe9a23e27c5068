"""From the cache to the network: shuffled, augmented, normalised batches on the training device.

The order of an epoch and every random change are functions of (seed, epoch, step) alone, so a run
that was killed and resumed sees exactly the batches of an uninterrupted one, wherever it stopped; and
several processes that share a batch see together exactly what one process would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imago.edge_runtime.types import U8
from imago.train.ahead import ahead
from imago.train.augment import Draw, Policy, draw
from imago.train.on_device import GREY, change, sent
from imago.train.profiling import NO_CLOCK, Clock
from imago.train.warping import LARGE, Warp, maps_of, tables_of, warp_small

# Batches whose changes are drawn in a row: between two batches, when every cache holds pixels, a draw takes
# four times as long.
DRAWN = 16
RESIDENT_SHARE = 0.5  # of the accelerator's free memory may hold the data set


def seed_of(*numbers: int) -> int:
    """One 63-bit seed from several numbers (splitmix64 steps): neighbours give unrelated streams."""
    mixed = 0
    for number in numbers:
        mixed = (mixed + number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        mixed ^= mixed >> 31
    return mixed >> 1


@dataclass(frozen=True, slots=True)
class Normalise:
    """``(pixel / 255 − mean) / std`` per channel, as the network expects it."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def gain_offset(self, channels: int) -> tuple[Tensor, Tensor]:
        """The same as ``pixel · gain + offset``; tensors ``(1, C, 1, 1)``."""
        mean = torch.tensor(self.mean).expand(channels)
        std = torch.tensor(self.std).expand(channels)
        return (1 / (255 * std))[None, :, None, None], (-mean / std)[None, :, None, None]


class Batches:
    """Batches of one split, or this process's part of them.

    images: uint8 ``(n, H, W, C)``, usually the cache's memory map. labels: int64 ``(n,)``. rank, world: this
    process takes the ``rank``-th of ``world`` equal parts of every batch.
    Batches come as (float32 ``(B, C, H, W)`` in channels-last memory, int64 ``(B,)``) on ``device``.
    """

    def __init__(
        self,
        images: U8,
        labels: npt.NDArray[np.int64],
        normalise: Normalise,
        *,
        batch_size: int,
        device: torch.device,
        policy: Policy | None = None,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        clock: Clock = NO_CLOCK,
    ) -> None:
        self.images, self.batch_size, self.device = images, batch_size, device
        self.policy = policy or Policy()
        self.seed, self.rank, self.world, self.clock = seed, rank, world, clock
        self.labels = torch.from_numpy(np.array(labels)).to(device)
        self.channels = images.shape[3]
        self._gain, self._offset = normalise.gain_offset(self.channels)
        self._streamed = not isinstance(images, np.ndarray)
        self._resident = self._on_device()
        self._normal = torch.stack([self._gain.flatten(), self._offset.flatten()]).to(device)
        self._pool: ThreadPoolExecutor | None = None
        self._buffer = np.empty(0, np.uint8)

    def __len__(self) -> int:
        """Batches per epoch. Sizes differ by one at most: no tiny last batch upsets BatchNorm."""
        return max(1, -(-len(self.images) // self.batch_size))

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled and augmented batches of epoch ``number``, from batch ``start`` on."""
        batches = self._epoch(number, start)
        waits = self._streamed or self.device.type == "cuda"
        return ahead(batches, self.device, self.clock) if waits else batches

    def _epoch(self, number: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(seed_of(self.seed, number))
        order = torch.randperm(len(self.images), generator=generator).tensor_split(len(self))
        for first in range(start, len(order), DRAWN):
            steps = range(first, min(first + DRAWN, len(order)))
            drawn = [self._drawn(number, step, len(order[step]), generator) for step in steps]
            for step, changes in zip(steps, drawn, strict=True):
                yield self._batch(order[step].tensor_split(self.world)[self.rank], changes)

    def _drawn(self, epoch: int, step: int, count: int, generator: torch.Generator) -> Draw:
        """This process's part of what is drawn for all, as one process would have it."""
        generator.manual_seed(seed_of(self.seed, epoch, step + 1))
        return draw(self.policy, count, self.channels, generator).part(self.rank, self.world)

    def ordered(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All pictures in order, unchanged but for normalisation (evaluation)."""
        mine = torch.arange(len(self.images)).tensor_split(self.world)[self.rank]
        for indices in torch.split(mine, max(self.batch_size, 256)):
            if not len(indices):  # fewer pictures than processes
                return
            yield self._batch(indices, None)

    def _on_device(self) -> Tensor | None:
        """The whole split in the accelerator's memory, where it fits."""
        if self.device.type != "cuda" or self._streamed:
            return None
        free, _ = torch.cuda.mem_get_info(self.device)
        if self.images.nbytes > free * RESIDENT_SHARE:
            return None
        return torch.from_numpy(np.array(self.images)).to(self.device)

    def _batch(self, indices: Tensor, changes: Draw | None) -> tuple[Tensor, Tensor]:
        if self.device.type != "cpu":
            return self._on_accelerator(indices, changes)
        gain, offset = self._gain, self._offset
        if changes is not None:
            gain, offset = changes.gain * gain, changes.offset * gain + offset
        return self._on_cpu(indices, changes, gain, offset), self.labels[indices]

    def _on_cpu(self, indices: Tensor, changes: Draw | None, gain: Tensor, offset: Tensor) -> Tensor:
        if changes is None or changes.matrices is None:
            pixels = _erase(self._gathered(indices), changes)
        elif int(np.prod(self.images.shape[1:])) < LARGE:
            source = self._gathered(indices).numpy()
            with self.clock.span("augment"):
                moved = warp_small(source, changes, mirror_edges=self.policy.flip)
                pixels = _erase(torch.from_numpy(moved), changes)
        elif changes.boxes is None:
            return self._warped(indices, changes, gain, offset).permute(0, 3, 1, 2)
        else:
            pixels = _erase(self._warped(indices, changes), changes)
        with self.clock.span("augment"):
            return torch.addcmul(offset, pixels.permute(0, 3, 1, 2).float(), gain)

    def _on_accelerator(self, indices: Tensor, changes: Draw | None) -> tuple[Tensor, Tensor]:
        where = sent(indices, self.device)
        if self._resident is not None:
            pixels = self._resident[where]
        else:
            host = self._gathered(indices)
            with self.clock.span("transfer"):
                pixels = sent(host, self.device)
        with self.clock.span("augment"):
            return change(pixels, changes, self._normal, mirror_edges=self.policy.flip), self.labels[where]

    def _gathered(self, indices: Tensor) -> Tensor:
        with self.clock.span("decode" if self._streamed else "read"):
            return torch.from_numpy(self.images[indices.numpy()])

    def _warped(
        self, indices: Tensor, changes: Draw, gain: Tensor | None = None, offset: Tensor | None = None
    ) -> Tensor:
        """Read and warp in one go: OpenCV takes each picture straight from the memory map.

        uint8 ``(B, H, W, C)`` in a buffer that the next call overwrites; with ``gain`` and ``offset``
        ``(B, C, 1, 1)`` a new float32 tensor of the same shape, converted picture by picture.
        """
        source, where = self.images, indices.tolist()
        if self._streamed:
            source, where = self._gathered(indices).numpy(), list(range(len(where)))
        shape = (len(where), *self.images.shape[1:])
        size = int(np.prod(shape))
        if self._buffer.size < size:
            self._buffer = np.empty(size, np.uint8)
        pixels = self._buffer[:size].reshape(shape)
        maps = maps_of(changes, shape[2], shape[1])
        with self.clock.span("augment"):
            if gain is None or offset is None:
                self._in_threads(Warp(source, where, maps, pixels, self.policy.flip))
                return torch.from_numpy(pixels)
            floats, tables = np.empty(shape, np.float32), tables_of(gain, offset, len(where))
            self._in_threads(Warp(source, where, maps, pixels, self.policy.flip, tables, floats))
            return torch.from_numpy(floats)

    def _in_threads(self, job: Warp) -> None:
        """This thread and its helpers take the next picture from one iterator until there is none."""
        helpers, pictures = torch.get_num_threads() - 1, iter(range(len(job.where)))
        waiting: list[Future[None]] = []
        if helpers:
            self._pool = self._pool or ThreadPoolExecutor(helpers)
            waiting = [self._pool.submit(job.run, pictures) for _ in range(helpers)]
        job.run(pictures)
        for done in waiting:
            done.result()


def _erase(pixels: Tensor, changes: Draw | None) -> Tensor:
    """Grey rectangles (Zhong et al. 2020, random erasing) on uint8 ``(B, H, W, C)``."""
    if changes is None or changes.boxes is None:
        return pixels
    height, width = pixels.shape[1:3]
    sides = torch.tensor([width, height, width, height])
    boxes = (changes.boxes * sides // 1024).tolist()
    for picture, (left, top, right, bottom) in zip(pixels, boxes, strict=True):
        picture[top:bottom, left:right] = GREY
    return pixels
