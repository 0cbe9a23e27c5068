"""Fake quantisation: float tensors on the integer grid that ONNX's QuantizeLinear gives, with gradients.

Forward is ONNX's arithmetic to the bit: ``saturate(round_half_even(x / scale) + zero_point)``, taken back
to float. Backward lets gradients through where the value was not cut off (straight-through estimator,
Bengio et al. 2013) and gives the scale its gradient (LSQ, Esser et al. 2020). A scale is trained as the
logarithm of its ratio to the value it started with (as in TQT, Jain et al. 2020): one learning rate then
suits all of them, none can turn negative, and an untrained one is exactly what the file said.

torch's own fake_quantize_* operators multiply by the reciprocal, and take 4 to 6 times as long on a CPU
(1.6 million values, one thread: 5.6 ms forward and 4.2 backward, here 0.9 and 1.8).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Array = npt.NDArray[Any]
WEIGHT_LIMIT = 127


def fake_quantise(x: Tensor, scale: Tensor, low: float, high: float) -> Tensor:
    """``clamp(round(x / scale), low, high) · scale``; scale broadcasts against ``x``.

    low, high: the smallest and largest integer less the zero point.
    """
    result: Tensor = _FakeQuantise.apply(x, scale, low, high)
    return result


class _FakeQuantise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: float, high: float) -> Tensor:
        steps = x / scale
        y = steps.round().clamp_(low, high).mul_(scale)
        ctx.save_for_backward(steps, y, scale)
        ctx.bounds = (low - 0.5, high + 0.5)  # whatever rounds to an integer of the range is inside
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        steps, y, scale = ctx.saved_tensors
        # one pass instead of three: the gradient of a clamp
        through: Tensor = torch.ops.aten.hardtanh_backward(grad, steps, *ctx.bounds)
        to_scale = None
        if ctx.needs_input_grad[1]:
            to_scale = (grad * y).sum_to_size(scale.shape) / scale
            to_scale -= (through * steps).sum_to_size(scale.shape)
        return through, to_scale, None, None


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, steps: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(steps)
        ctx.bounds = (low - 0.5, high + 0.5)
        return steps.round().clamp_(low, high)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (steps,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(grad, steps, *ctx.bounds), None, None


class Scale(nn.Module):
    """A positive step size: a scalar, or one value per channel in a shape that broadcasts.

    ceiling: it may not grow beyond this (a Clip in front of the quantiser then stays superfluous, and
    engines leave it out).
    """

    def __init__(self, start: Array, *, trainable: bool, ceiling: float = np.inf) -> None:
        super().__init__()
        self.start: Tensor
        self.register_buffer("start", torch.from_numpy(np.array(start, np.float32)))
        self.log_ratio = nn.Parameter(torch.zeros_like(self.start), requires_grad=trainable)
        self.ceiling = ceiling

    def forward(self) -> Tensor:
        """The step size now, float32."""
        scale: Tensor = self.start * self.log_ratio.exp()
        if self.ceiling == np.inf:
            return scale
        # the gradient passes the ceiling, so that the scale can come down again
        return scale + (scale.clamp(max=self.ceiling) - scale).detach()


@dataclass(frozen=True, eq=False, slots=True)
class FakeQuantiser:
    """A QuantizeLinear and the DequantizeLinear that undoes it. low, high: less the zero point."""

    scale: Scale
    low: float
    high: float

    def __call__(self, x: Tensor) -> Tensor:
        """``x`` on the grid."""
        return fake_quantise(x, self.scale(), self.low, self.high)


@dataclass(frozen=True, eq=False, slots=True)
class Quantiser:
    """A QuantizeLinear whose integers are used as such. low, high: less the zero point."""

    scale: Scale
    low: float
    high: float
    zero: float

    def __call__(self, x: Tensor) -> Tensor:
        """The stored integers, as float32."""
        stored: Tensor = _Round.apply(x / self.scale(), self.low, self.high) + self.zero
        return stored


@dataclass(frozen=True, eq=False, slots=True)
class Dequantiser:
    """A DequantizeLinear on a scale of its own."""

    scale: Scale
    zero: float

    def __call__(self, stored: Tensor) -> Tensor:
        """What the stored integers mean."""
        numbers: Tensor = (stored - self.zero) * self.scale()
        return numbers


class Values(nn.Module):
    """Trainable numbers in units that suit one learning rate: each is stored as a multiple of ``unit``."""

    def __init__(self, start: Array, unit: Array) -> None:
        super().__init__()
        self.unit: Tensor
        self.register_buffer("unit", torch.from_numpy(np.array(unit, np.float32)))
        self.value = nn.Parameter(self._in_units(start))

    def forward(self) -> Tensor:
        """The numbers themselves, float32."""
        numbers: Tensor = self.value * self.unit
        return numbers

    @torch.no_grad()
    def move_near(self, near: Array, allowed: Callable[[], Array]) -> None:
        """Start from ``near`` instead, but only where that leaves what ``allowed`` returns as it is."""
        before, wanted = self.value.clone(), allowed()
        self.value.copy_(self._in_units(near))
        same = torch.from_numpy(allowed() == wanted)
        self.value.copy_(torch.where(same, self.value, before))

    def _in_units(self, numbers: Array) -> Tensor:
        return torch.from_numpy(np.array(numbers, np.float32)) / self.unit


class QuantisedWeight(nn.Module):
    """Shadow weights in float, used and stored as integers.

    integers: as in the file, less the zero point; near: the float weights that they were made from, or
    None. Wherever the float weight rounds to the stored integer the shadow starts from it, else from the
    integer: the network at the start is the file's, whatever was done to the weights before.
    """

    def __init__(
        self, integers: Array, scale: Scale, near: Array | None, limits: tuple[float, float]
    ) -> None:
        super().__init__()
        self.scale, (self.low, self.high) = scale, limits
        steps = scale.start.numpy()
        self.shadow = Values(integers * steps.astype(np.float64), steps * max(-self.low, self.high))
        if near is not None and near.shape == integers.shape:
            self.shadow.move_near(near, self.integers)

    def forward(self) -> Tensor:
        """The weights as the engine sees them, float32."""
        return fake_quantise(self.shadow(), self.scale(), self.low, self.high)

    def integers(self) -> Array:
        """What the file stores, less the zero point."""
        steps = self.shadow() / self.scale()
        return _integers(steps.round().clamp(self.low, self.high))


class QuantisedBias(nn.Module):
    """A bias on the grid of its layer's accumulator: int32 times (input scale · weight scale).

    scales: whose product is the bias's scale (one, where the input is not quantised).
    """

    def __init__(self, integers: Array, scales: tuple[Scale, ...], near: Array | None) -> None:
        super().__init__()
        self.scales = scales  # a tuple: they are registered where they belong
        steps = self.scale().detach().double().numpy()
        start = integers * steps
        largest = max(float(np.abs(start).max(initial=0)), WEIGHT_LIMIT * float(steps.max()))
        self.shadow = Values(start, np.asarray(largest))
        if near is not None and near.shape == integers.shape:
            self.shadow.move_near(near, self.integers)

    def scale(self) -> Tensor:
        """float32 ``(channels,)`` or ``(1,)``."""
        product: Tensor = self.scales[0]().flatten()
        for scale in self.scales[1:]:
            product = product * scale().flatten()
        return product

    def forward(self) -> Tensor:
        """The bias as the engine adds it, float32. Its grid is so fine that the scales learn nothing here."""
        exact, scale = self.shadow(), self.scale().detach()
        rounded: Tensor = exact + ((exact / scale).round() * scale - exact).detach()
        return rounded

    def integers(self) -> Array:
        """What the file stores, int32."""
        steps = self.shadow().cpu().double() / self.scale().cpu().double()
        return _integers(steps.round().clamp(-(2**31), 2**31 - 1))


def _integers(tensor: Tensor) -> Array:
    return tensor.detach().cpu().numpy().astype(np.int64)
