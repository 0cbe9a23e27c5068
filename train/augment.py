"""Random changes of the training pictures, drawn anew for every picture and step.

One affine map per picture (flip, rotation, zoom, shear, shift) and one gain and offset per picture
and channel (brightness, contrast, white balance). The gain and offset are folded into the conversion
from uint8 to the network's normalised float, so they cost nothing. The affine map runs in OpenCV on
uint8 pixels on a CPU (four times less memory traffic than a float grid) and as one batched
``grid_sample`` on an accelerator; both are bilinear.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

KNOTS = 5  # of the elastic bend, per side: about a stroke's length apart


@dataclass(frozen=True, slots=True)
class Policy:
    """Half-ranges of the random changes. zoom is a factor (1.25: 0.8 to 1.25); angles in degrees; shift and
    bend (elastic deformation, Simard et al. 2003) in shares of the side; erase is a probability."""

    flip: bool = False
    rotate: float = 0.0
    zoom: float = 1.0
    shear: float = 0.0
    shift: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    balance: float = 0.0
    erase: float = 0.0
    bend: float = 0.0

    @property
    def geometric(self) -> bool:
        """Whether pixels move at all."""
        still = not (self.flip or self.rotate or self.shear or self.shift or self.bend)
        return not still or self.zoom > 1


STANDARD = Policy(
    flip=True, rotate=15, zoom=1.25, shear=6, shift=0.08, brightness=0.2, contrast=0.25, balance=0.06
)
POLICIES: dict[str, Policy] = {
    "none": Policy(),
    # digits and signs: a mirrored 3 is no 3
    "light": Policy(rotate=10, zoom=1.15, shear=8, shift=0.07, brightness=0.1, contrast=0.15, bend=0.025),
    "standard": STANDARD,
    # seen from above, an insect heads anywhere
    "overhead": replace(STANDARD, rotate=180),
    "strong": replace(
        STANDARD,
        rotate=30,
        zoom=1.5,
        shear=10,
        shift=0.12,
        brightness=0.3,
        contrast=0.35,
        balance=0.1,
        erase=0.3,
    ),
}


@dataclass(frozen=True, slots=True)
class Draw:
    """The random changes of one batch of B pictures.

    matrices: float32 ``(B, 2, 3)``, output to input in ``affine_grid``'s coordinates (−1..1), or None.
    gain, offset: float32 ``(B, C, 1, 1)`` in 0..255 pixel units. boxes: int64 ``(B, 4)`` as relative 1/1024
    left, top, right, bottom of an erased rectangle, or None. bends: float32 ``(B, 2, KNOTS, KNOTS)``, smooth
    displacements in the matrices' coordinates, or None.
    """

    matrices: Tensor | None
    gain: Tensor
    offset: Tensor
    boxes: Tensor | None
    bends: Tensor | None = None


def draw(policy: Policy, batch: int, channels: int, generator: torch.Generator) -> Draw:
    """Draw the changes of one batch on the CPU: the same numbers on every device."""

    def spread(half: float, *shape: int) -> Tensor:
        return (torch.rand(batch, *shape, generator=generator) * 2 - 1) * half

    matrices = _matrices(policy, batch, spread, generator) if policy.geometric else None
    gain = (1 + spread(policy.contrast, 1)) * (1 + spread(policy.balance, channels))
    # contrast turns around mid-grey, which costs no pass over the picture
    offset = 127.5 * (1 - gain) + 255 * spread(policy.brightness, 1)
    boxes = _boxes(policy, batch, generator) if policy.erase > 0 else None
    bends = spread(2 * policy.bend, 2, KNOTS, KNOTS) if policy.bend > 0 else None
    return Draw(matrices, gain[:, :, None, None], offset[:, :, None, None], boxes, bends)


def _matrices(
    policy: Policy, batch: int, spread: Callable[..., Tensor], generator: torch.Generator
) -> Tensor:
    angle = torch.deg2rad(spread(policy.rotate))
    shear = torch.tan(torch.deg2rad(spread(policy.shear)))
    scale = torch.exp(spread(float(torch.log(torch.tensor(policy.zoom)))))
    mirror = torch.ones(batch)
    if policy.flip:
        mirror -= 2 * torch.randint(0, 2, (batch,), generator=generator)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    matrices = torch.empty(batch, 2, 3)
    matrices[:, 0, 0], matrices[:, 0, 1] = cos * mirror, cos * shear - sin
    matrices[:, 1, 0], matrices[:, 1, 1] = sin * mirror, sin * shear + cos
    matrices[:, :, 2] = spread(2 * policy.shift, 2)
    return matrices


def _boxes(policy: Policy, batch: int, generator: torch.Generator) -> Tensor:
    size = torch.randint(200, 460, (batch, 2), generator=generator)
    size *= (torch.rand(batch, 1, generator=generator) < policy.erase).long()
    corner = (torch.rand(batch, 2, generator=generator) * (1024 - size)).long()
    return torch.cat([corner, corner + size], dim=1)


def grid_of(matrices: Tensor, bends: Tensor | None, height: int, width: int) -> Tensor:
    """Where every output pixel comes from: x and y in −1..1, float32 ``(B, 2, H, W)``."""
    device = matrices.device
    xs = (2 * torch.arange(width, device=device) + 1) / width - 1
    ys = (2 * torch.arange(height, device=device) + 1) / height - 1
    along_x = matrices[:, :, 0, None] * xs
    along_y = matrices[:, :, 1, None] * ys + matrices[:, :, 2, None]
    grid = along_y[:, :, :, None] + along_x[:, :, None, :]
    if bends is not None:
        grid += _spline(height).to(device) @ bends @ _spline(width).to(device).T
    return grid


@lru_cache(maxsize=16)
def _spline(size: int) -> Tensor:
    """Bicubic interpolation from KNOTS to ``size`` values as a matrix ``(size, KNOTS)``."""
    unit = torch.eye(KNOTS)[:, None, :, None].expand(-1, -1, -1, 2)
    return F.interpolate(unit, (size, 2), mode="bicubic", align_corners=True)[:, 0, :, 0].T.contiguous()


def warp(images: Tensor, matrices: Tensor, bends: Tensor | None = None, *, mirror_edges: bool) -> Tensor:
    """Move pixels: float ``(B, C, H, W)`` through the maps with ``grid_sample`` (accelerators)."""
    grid = grid_of(matrices, bends, images.shape[2], images.shape[3]).permute(0, 2, 3, 1)
    return F.grid_sample(
        images, grid, "bilinear", "reflection" if mirror_edges else "border", align_corners=False
    )


def pixel_matrices(matrices: Tensor, width: int, height: int) -> Tensor:
    """``affine_grid`` matrices as float64 pixel-to-pixel maps ``(B, 2, 3)`` for OpenCV's inverse warp.

    Pixel x sits at ``(2x + 1) / width − 1``; solving for the input pixel gives the terms below.
    """
    m = matrices.double()
    half = torch.tensor([width / 2, height / 2], dtype=torch.float64)
    linear = m[:, :, :2] * half[None, :, None] / half[None, None, :]
    centre = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64)
    shift = m[:, :, 2] * half + centre - linear @ centre
    return torch.cat([linear, shift[:, :, None]], dim=2)
