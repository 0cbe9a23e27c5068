"""The random changes on an accelerator: the numbers go there in one copy, the pictures are changed there.

Copies from ordinary memory wait until the device has done all it was given before; copies from pinned
memory do not, so everything small that a batch needs travels in one pinned block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from imago.train.augment import Draw, warp

GREY = 128  # of an erased rectangle


def sent(values: Tensor, device: torch.device) -> Tensor:
    """``values`` on ``device``, without waiting for what the device is doing."""
    if device.type == "cuda":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


def change(pixels: Tensor, changes: Draw | None, normal: Tensor, *, mirror_edges: bool) -> Tensor:
    """Warp and normalise one batch where it lies.

    pixels: uint8 ``(B, H, W, C)``. normal: float32 ``(2, C)``, the network's gain and offset per channel,
    on the same device. Returns float32 ``(B, C, H, W)`` in channels-last memory.
    """
    count, channels = pixels.shape[0], pixels.shape[3]
    gain, offset = (row.view(1, channels, 1, 1) for row in normal)
    if changes is None:
        return torch.addcmul(offset, pixels.permute(0, 3, 1, 2).float(), gain)
    numbers = [t for t in (changes.gain, changes.offset, changes.matrices, changes.bends) if t is not None]
    widths = [t[0].numel() for t in numbers]
    there = sent(torch.cat([t.reshape(count, -1) for t in numbers], 1), pixels.device).split(widths, 1)  # type: ignore[no-untyped-call]
    own_gain, own_offset, *moves = (t.reshape(own.shape) for t, own in zip(there, numbers, strict=True))
    batch = pixels.permute(0, 3, 1, 2).float()
    if moves:
        batch = warp(batch, *moves, mirror_edges=mirror_edges)
    if changes.boxes is not None:
        batch = _erased(batch, sent(changes.boxes, pixels.device))
    batch = torch.addcmul(own_offset * gain + offset, batch, own_gain * gain)
    return batch.contiguous(memory_format=torch.channels_last)


def _erased(batch: Tensor, boxes: Tensor) -> Tensor:
    """Grey rectangles on ``(B, C, H, W)``; boxes: int64 ``(B, 4)`` in 1/1024 of the sides."""
    height, width = batch.shape[2:]
    sides = torch.tensor([width, height, width, height], device=boxes.device)
    left, top, right, bottom = (boxes * sides // 1024)[:, :, None, None].unbind(1)
    xs, ys = torch.arange(width, device=boxes.device), torch.arange(height, device=boxes.device)[:, None]
    inside = (xs >= left) & (xs < right) & (ys >= top) & (ys < bottom)
    return batch.masked_fill(inside[:, None], GREY)
