"""From the cache to the network: shuffled, augmented, normalised batches on the training device.

The order of an epoch and every random change are functions of (seed, epoch, step) alone, so a run
that was killed and resumed sees exactly the batches of an uninterrupted one, wherever it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imago.edge_runtime.errors import MissingDependency
from imago.edge_runtime.types import F32, U8
from imago.train.augment import Draw, Policy, draw, grid_of, pixel_matrices, warp

LARGE = 4096  # bytes of a picture from which threads and tables pay
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
    """Batches of one split.

    images: uint8 ``(n, H, W, C)``, usually the cache's memory map. labels: int64 ``(n,)``.
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
    ) -> None:
        self.images, self.batch_size, self.device = images, batch_size, device
        self.policy = policy or Policy()
        self.seed = seed
        self.labels = torch.from_numpy(np.array(labels)).to(device)
        self.channels = images.shape[3]
        self._gain, self._offset = normalise.gain_offset(self.channels)
        self._resident = self._on_device()
        self._pool: ThreadPoolExecutor | None = None
        self._buffer = np.empty(0, np.uint8)

    def __len__(self) -> int:
        """Batches per epoch. Sizes differ by one at most: no tiny last batch upsets BatchNorm."""
        return max(1, -(-len(self.images) // self.batch_size))

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled and augmented batches of epoch ``number``, from batch ``start`` on."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, number))
        order = torch.randperm(len(self.images), generator=generator)
        for step, indices in enumerate(order.tensor_split(len(self))):
            if step >= start:
                generator.manual_seed(seed_of(self.seed, number, step + 1))
                changes = draw(self.policy, len(indices), self.channels, generator)
                yield self._load(indices, changes), self.labels[indices.to(self.device)]

    def ordered(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All pictures in order, unchanged but for normalisation (evaluation)."""
        for indices in torch.split(torch.arange(len(self.images)), max(self.batch_size, 256)):
            yield self._load(indices, None), self.labels[indices.to(self.device)]

    def _on_device(self) -> Tensor | None:
        """The whole split in the accelerator's memory, where it fits."""
        if self.device.type != "cuda":
            return None
        free, _ = torch.cuda.mem_get_info(self.device)
        if self.images.nbytes > free * RESIDENT_SHARE:
            return None
        return torch.from_numpy(np.array(self.images)).to(self.device)

    def _load(self, indices: Tensor, changes: Draw | None) -> Tensor:
        gain, offset = self._gain, self._offset
        if changes is not None:
            gain, offset = changes.gain * gain, changes.offset * gain + offset
        if self.device.type == "cpu":
            return self._on_cpu(indices, changes, gain, offset)
        return self._on_accelerator(indices, changes, gain, offset)

    def _on_cpu(self, indices: Tensor, changes: Draw | None, gain: Tensor, offset: Tensor) -> Tensor:
        if changes is None or changes.matrices is None:
            pixels = _erase(self._gathered(indices), changes)
        elif changes.boxes is None and self.images[0].size >= LARGE:
            return self._warped(indices, changes, _tables(gain, offset)).permute(0, 3, 1, 2)
        else:
            pixels = _erase(self._warped(indices, changes), changes)
        return torch.addcmul(offset, pixels.permute(0, 3, 1, 2).float(), gain)

    def _on_accelerator(self, indices: Tensor, changes: Draw | None, gain: Tensor, offset: Tensor) -> Tensor:
        if self._resident is not None:
            pixels = self._resident[indices.to(self.device)]
        else:
            host = self._gathered(indices)
            pixels = (host.pin_memory() if self.device.type == "cuda" else host).to(
                self.device, non_blocking=True
            )
        batch = _erase(pixels, changes).permute(0, 3, 1, 2).float()
        if changes is not None and changes.matrices is not None:
            bends = changes.bends.to(self.device) if changes.bends is not None else None
            batch = warp(batch, changes.matrices.to(self.device), bends, mirror_edges=self.policy.flip)
        return torch.addcmul(offset.to(self.device), batch, gain.to(self.device))

    def _gathered(self, indices: Tensor) -> Tensor:
        return torch.from_numpy(self.images[indices.numpy()])

    def _warped(self, indices: Tensor, changes: Draw, tables: F32 | None = None) -> Tensor:
        """Read and warp in one go: OpenCV takes each picture straight from the memory map.

        uint8 ``(B, H, W, C)`` in a buffer that the next call overwrites; with ``tables`` (``_tables``) a new
        float32 array of the same shape, converted while the picture is still in the core's cache.
        """
        where = indices.tolist()
        shape = (len(where), *self.images.shape[1:])
        size = int(np.prod(shape))
        if self._buffer.size < size:
            self._buffer = np.empty(size, np.uint8)
        pixels = self._buffer[:size].reshape(shape)
        floats = np.empty(shape, np.float32) if tables is not None else None
        job = _Warp(
            self.images, where, _maps(changes, shape[2], shape[1]), pixels, tables, floats, self.policy.flip
        )
        self._in_threads(job)
        return torch.from_numpy(pixels if floats is None else floats)

    def _in_threads(self, job: _Warp) -> None:
        workers, count = torch.get_num_threads(), len(job.where)
        if workers == 1 or job.pixels[0].size < LARGE:  # handing over costs more than it saves
            job.run(range(count))
            return
        self._pool = self._pool or ThreadPoolExecutor(workers)
        cuts = np.linspace(0, count, workers + 1).astype(int).tolist()
        for done in [self._pool.submit(job.run, range(a, b)) for a, b in pairwise(cuts)]:
            done.result()


@dataclass(frozen=True, eq=False, slots=True)
class _Warp:
    """Warping one batch: from ``images[where]`` through ``maps`` into ``pixels``, and on into ``floats``."""

    images: U8
    where: list[int]
    maps: npt.NDArray[np.generic]
    pixels: U8
    tables: F32 | None
    floats: F32 | None
    mirror_edges: bool

    def run(self, part: range) -> None:
        cv2 = _opencv()
        border = cv2.BORDER_REFLECT if self.mirror_edges else cv2.BORDER_REPLICATE
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (self.images.shape[2], self.images.shape[1])
        for k in part:
            source, maps, target = self.images[self.where[k]], self.maps[k], self.pixels[k]
            if maps.ndim == 2:
                cv2.warpAffine(source, maps, size, target, flags, border)
            else:
                cv2.remap(source, maps[0], maps[1], cv2.INTER_LINEAR, target, border)
            if self.tables is not None and self.floats is not None:
                cv2.LUT(target, self.tables[k], self.floats[k])


def _tables(gain: Tensor, offset: Tensor) -> F32:
    """``pixel · gain + offset`` for all 256 pixel values: float32 ``(B, 256, 1, C)``."""
    values = np.arange(256, dtype=np.float32)[:, None, None]
    tables: F32 = gain.numpy()[:, None, None, :, 0, 0] * values + offset.numpy()[:, None, None, :, 0, 0]
    return tables


def _maps(changes: Draw, width: int, height: int) -> npt.NDArray[np.generic]:
    """For OpenCV: float64 matrices ``(B, 2, 3)``, or with bends float32 pixel positions ``(B, 2, H, W)``."""
    if changes.matrices is None:
        raise ValueError("nothing moves in this draw")
    if changes.bends is None:
        return pixel_matrices(changes.matrices, width, height)
    grid = grid_of(changes.matrices, changes.bends, height, width)
    side = torch.tensor([width, height])[:, None, None]
    return grid.add_(1).mul_(side / 2).sub_(0.5).numpy()


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise MissingDependency(
            "training needs opencv-python-headless: pip install 'imago-edge[train]'"
        ) from error
    return cv2


def _erase(pixels: Tensor, changes: Draw | None) -> Tensor:
    """Grey rectangles (Zhong et al. 2020, random erasing) on uint8 ``(B, H, W, C)``."""
    if changes is None or changes.boxes is None:
        return pixels
    height, width = pixels.shape[1:3]
    sides = torch.tensor([width, height, width, height])
    boxes = (changes.boxes * sides // 1024).tolist()
    for picture, (left, top, right, bottom) in zip(pixels, boxes, strict=True):
        picture[top:bottom, left:right] = 128
    return pixels
