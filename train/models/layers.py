"""The layers that a network of one's own is put together from: what they take, give and cost.

Pure arithmetic on shapes, no torch: a page can say at once what a change does. A shape is ``(channels,
height, width)`` for feature maps and ``(units,)`` for a list of numbers. ``net_module.py`` makes the
real layers; tests hold the two against each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import ClassVar

from imago.edge_runtime.errors import InputError

Shape = tuple[int, ...]
Range = tuple[float, float]

ACTIVATIONS = ("", "relu", "softmax")


class LayerError(InputError):
    """A layer does not take what it is given, or one of its settings is out of range."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Base of all layers.

    KIND: its name in files. TITLE: its name for people. RANGES: the least and the largest value of its
    number fields.
    """

    KIND: ClassVar[str] = ""
    TITLE: ClassVar[str] = ""
    RANGES: ClassVar[dict[str, Range]] = {}

    def __post_init__(self) -> None:
        for name, (low, high) in self.RANGES.items():
            value = getattr(self, name)
            if value is None and name == "units":
                continue
            whole = isinstance(low, int)
            good = isinstance(value, int) if whole else isinstance(value, int | float)
            if isinstance(value, bool) or not good or not low <= value <= high:
                raise _out_of_range(self.TITLE, name, value, (low, high))
        activation = getattr(self, "activation", "")
        if activation not in ACTIVATIONS:
            raise LayerError(
                "{layer}: {field} is {value}; expected one of: {choices}",
                layer=self.TITLE,
                field="activation",
                value=repr(activation)[:40],
                choices="relu, softmax",
            )

    @property
    def settings(self) -> str:
        """What is not obvious from the title: ``kernel 5×5, relu``."""
        return ""

    def out(self, shape: Shape) -> Shape:
        """Shape of its output. Raises LayerError where it does not take ``shape``."""
        return shape

    def cost(self, shape: Shape) -> tuple[int, int]:
        """``(parameters, multiply-accumulates)`` for an input of ``shape``, which it takes."""
        return 0, 0


def _out_of_range(title: str, name: str, value: object, wanted: Range) -> LayerError:
    template = (
        "{layer}: {field} is {value}; expected a whole number from {low} to {high}"
        if isinstance(wanted[0], int)
        else "{layer}: {field} is {value}; expected a number from {low} to {high}"
    )
    return LayerError(
        template, layer=title, field=name, value=repr(value)[:40], low=wanted[0], high=wanted[1]
    )


def needs_maps(shape: Shape) -> tuple[int, int, int]:
    """Raises LayerError where the layer gets a list of numbers instead of feature maps."""
    if len(shape) != 3:
        raise LayerError(
            "it needs feature maps, but it gets a list of {units} numbers; move it before the first Linear "
            "or Flatten",
            units=shape[0],
        )
    return shape[0], shape[1], shape[2]


def slid(side: int, kernel: int, stride: int, padding: int = 0) -> int:
    """How many places a window has along ``side``."""
    return (side + 2 * padding - kernel) // stride + 1


def windowed(shape: Shape, channels: int, kernel: int, stride: int, padding: int) -> Shape:
    """Output of a window that slides over maps. Raises LayerError where it is larger than the maps."""
    _, height, width = needs_maps(shape)
    most = min(height, width) + 2 * padding
    if kernel > most:
        raise LayerError(
            "its window of {kernel}×{kernel} is larger than the maps of {width}×{height} that it gets; "
            "choose a window of at most {most}×{most}, or take out a layer before it that shrinks the maps",
            kernel=kernel,
            width=width,
            height=height,
            most=most,
        )
    return channels, slid(height, kernel, stride, padding), slid(width, kernel, stride, padding)


@dataclass(frozen=True, slots=True)
class Conv2D(Layer):
    """A convolution: ``channels`` kernels of ``kernel`` × ``kernel`` pixels slide over all maps."""

    KIND: ClassVar[str] = "conv2d"
    TITLE: ClassVar[str] = "Conv2D"
    RANGES: ClassVar[dict[str, Range]] = {
        "channels": (1, 2048),
        "kernel": (1, 31),
        "stride": (1, 16),
        "padding": (0, 15),
    }
    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 0
    activation: str = ""

    def __post_init__(self) -> None:
        Layer.__post_init__(self)
        if self.padding >= self.kernel:
            raise LayerError(
                "{layer}: a padding of {padding} is as large as the kernel of {kernel}; at most {most}",
                layer=self.TITLE,
                padding=self.padding,
                kernel=self.kernel,
                most=self.kernel - 1,
            )
        if self.activation == "softmax":
            raise LayerError("Softmax is for the last layer only, after the last Linear; use relu here")

    @property
    def settings(self) -> str:
        """See the base."""
        parts = [f"{self.kernel}×{self.kernel}"]
        parts += [f"stride {self.stride}"] if self.stride > 1 else []
        parts += [f"padding {self.padding}"] if self.padding else []
        return ", ".join([*parts, *filter(None, [self.activation])])

    def out(self, shape: Shape) -> Shape:
        """See the base."""
        return windowed(shape, self.channels, self.kernel, self.stride, self.padding)

    def cost(self, shape: Shape) -> tuple[int, int]:
        """See the base."""
        weights = self.channels * shape[0] * self.kernel**2
        _, height, width = self.out(shape)
        return weights + self.channels, weights * height * width


@dataclass(frozen=True, slots=True)
class _Pool(Layer):
    """stride: how far the window moves; 0: as far as it is wide."""

    RANGES: ClassVar[dict[str, Range]] = {"kernel": (1, 64), "stride": (0, 64)}
    kernel: int = 2
    stride: int = 0

    @property
    def step(self) -> int:
        """The stride in force."""
        return self.stride or self.kernel

    @property
    def settings(self) -> str:
        """See the base."""
        step = f", stride {self.step}" if self.step != self.kernel else ""
        return f"{self.kernel}×{self.kernel}{step}"

    def out(self, shape: Shape) -> Shape:
        """See the base."""
        return windowed(shape, shape[0], self.kernel, self.step, 0)


@dataclass(frozen=True, slots=True)
class MaxPool(_Pool):
    """Of every window the largest value stays."""

    KIND: ClassVar[str] = "max_pool"
    TITLE: ClassVar[str] = "MaxPool"


@dataclass(frozen=True, slots=True)
class AvgPool(_Pool):
    """Of every window the mean stays."""

    KIND: ClassVar[str] = "avg_pool"
    TITLE: ClassVar[str] = "AvgPool"


@dataclass(frozen=True, slots=True)
class GlobalAvgPool(Layer):
    """Of every map one number stays: its mean."""

    KIND: ClassVar[str] = "global_avg_pool"
    TITLE: ClassVar[str] = "GlobalAvgPool"

    def out(self, shape: Shape) -> Shape:
        """See the base."""
        return (needs_maps(shape)[0],)


@dataclass(frozen=True, slots=True)
class BatchNorm(Layer):
    """Keeps every channel near mean 0 and spread 1, with a scale and a shift that are learned."""

    KIND: ClassVar[str] = "batch_norm"
    TITLE: ClassVar[str] = "BatchNorm"

    def cost(self, shape: Shape) -> tuple[int, int]:
        """See the base."""
        return 2 * shape[0], 0


@dataclass(frozen=True, slots=True)
class Dropout(Layer):
    """In training, a share of the values is set to 0 at random."""

    KIND: ClassVar[str] = "dropout"
    TITLE: ClassVar[str] = "Dropout"
    RANGES: ClassVar[dict[str, Range]] = {"share": (0.0, 0.95)}
    share: float = 0.5

    @property
    def settings(self) -> str:
        """See the base."""
        return f"{self.share:g}"


@dataclass(frozen=True, slots=True)
class Flatten(Layer):
    """Maps become one list of numbers; a Linear does it by itself."""

    KIND: ClassVar[str] = "flatten"
    TITLE: ClassVar[str] = "Flatten"

    def out(self, shape: Shape) -> Shape:
        """See the base."""
        return (math.prod(shape),)


@dataclass(frozen=True, slots=True)
class Linear(Layer):
    """Fully connected: every unit weighs every input. units: None for the last layer, one per class."""

    KIND: ClassVar[str] = "linear"
    TITLE: ClassVar[str] = "Linear"
    RANGES: ClassVar[dict[str, Range]] = {"units": (1, 100_000)}
    units: int | None = None
    activation: str = ""

    @property
    def settings(self) -> str:
        """See the base."""
        return self.activation

    def out(self, shape: Shape) -> Shape:
        """See the base. The plan fills ``units`` in before it asks."""
        if self.units is None:
            raise LayerError("only the last Linear may leave its number of units to the data; give one here")
        return (self.units,)

    def cost(self, shape: Shape) -> tuple[int, int]:
        """See the base."""
        weights = math.prod(shape) * self.out(shape)[0]
        return weights + self.out(shape)[0], weights


@dataclass(frozen=True, slots=True)
class ReLU(Layer):
    """What is below 0 becomes 0."""

    KIND: ClassVar[str] = "relu"
    TITLE: ClassVar[str] = "ReLU"


@dataclass(frozen=True, slots=True)
class Softmax(Layer):
    """Turns the last layer's numbers into probabilities. The loss and the exported file apply it."""

    KIND: ClassVar[str] = "softmax"
    TITLE: ClassVar[str] = "Softmax"


def field_names(kind: type[Layer]) -> tuple[str, ...]:
    """The settings of a layer, in the order in which they are typed."""
    return tuple(f.name for f in fields(kind))
