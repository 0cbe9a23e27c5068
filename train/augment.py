"""Random changes of the training pictures, drawn anew for every picture and step.

One affine map per picture (flip, rotation, zoom, shear, shift) and one gain and offset per picture
and channel (brightness, contrast, white balance). The gain and offset are folded into the conversion
from uint8 to the network's normalised float, so they cost nothing. The affine map runs in OpenCV on
uint8 pixels on a CPU (four times less memory traffic than a float grid) and as one batched
``grid_sample`` on an accelerator; both are bilinear.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
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


def usual_policy(layout: str) -> str:
    """The policy that "auto" stands for, by the layout of the data set."""
    return "light" if layout == "idx" else "standard"


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

    def part(self, rank: int, world: int) -> Draw:
        """The ``rank``-th of ``world`` parts, as ``tensor_split`` cuts them."""
        if world == 1:
            return self

        def cut(values: Tensor | None) -> Tensor | None:
            return None if values is None else values.tensor_split(world)[rank]

        gain, offset = self.gain.tensor_split(world)[rank], self.offset.tensor_split(world)[rank]
        return Draw(cut(self.matrices), gain, offset, cut(self.boxes), cut(self.bends))


def draw(policy: Policy, batch: int, channels: int, generator: torch.Generator) -> Draw:
    """Draw the changes of one batch on the CPU: the same numbers on every device.

    All uniform numbers come in one call and are worked on in numpy: these are a few hundred values, and
    a torch operation costs more than its arithmetic.
    """
    numbers = (torch.rand(8 + channels, batch, generator=generator) * 2 - 1).numpy()
    matrices = torch.from_numpy(_matrices(policy, numbers[:6])) if policy.geometric else None
    brightness, contrast, balance = numbers[6], numbers[7], numbers[8:]
    gain = (1 + policy.contrast * contrast) * (1 + policy.balance * balance)
    # contrast turns around mid-grey, which costs no pass over the picture
    offset = 127.5 * (1 - gain) + 255 * policy.brightness * brightness
    boxes = _boxes(policy, batch, generator) if policy.erase > 0 else None
    bends = None
    if policy.bend > 0:
        bends = (torch.rand(batch, 2, KNOTS, KNOTS, generator=generator) * 2 - 1) * (2 * policy.bend)
    return Draw(matrices, _per_channel(gain), _per_channel(offset), boxes, bends)


def _per_channel(values: npt.NDArray[np.float32]) -> Tensor:
    """``(C, B)`` as ``(B, C, 1, 1)``."""
    return torch.from_numpy(np.ascontiguousarray(values.T, np.float32))[:, :, None, None]


def _matrices(policy: Policy, numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """``(B, 2, 3)`` from six rows of uniform numbers in −1..1."""
    turn, slant, size, side, shift_x, shift_y = numbers
    angle = np.deg2rad(policy.rotate) * turn
    shear = np.tan(np.deg2rad(policy.shear) * slant)
    scale = np.exp(np.log(policy.zoom) * size)
    mirror = np.where(side < 0, -1, 1) if policy.flip else 1
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    matrices = np.empty((numbers.shape[1], 2, 3), np.float32)
    matrices[:, 0, 0], matrices[:, 0, 1] = cos * mirror, cos * shear - sin
    matrices[:, 1, 0], matrices[:, 1, 1] = sin * mirror, sin * shear + cos
    matrices[:, 0, 2], matrices[:, 1, 2] = 2 * policy.shift * shift_x, 2 * policy.shift * shift_y
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


def pixel_matrices(matrices: Tensor, width: int, height: int) -> npt.NDArray[np.float64]:
    """``affine_grid`` matrices as float64 pixel-to-pixel maps ``(B, 2, 3)`` for OpenCV's inverse warp.

    Pixel x sits at ``(2x + 1) / width − 1``; solving for the input pixel gives the terms below.
    """
    m = matrices.numpy().astype(np.float64)
    half = np.array([width / 2, height / 2])
    maps = np.empty_like(m)
    maps[:, :, :2] = m[:, :, :2] * half[:, None] / half
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    maps[:, :, 2] = m[:, :, 2] * half + centre - maps[:, :, :2] @ centre
    return maps
