"""Blocks of several layers that count as one: residual and Inception; and the list of all layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from imago.train.models.layers import (
    AvgPool,
    BatchNorm,
    Conv2D,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Layer,
    LayerError,
    Linear,
    MaxPool,
    Range,
    ReLU,
    Shape,
    Softmax,
    needs_maps,
    windowed,
)

INCEPTION_STEP = 8  # the block's branches are eighths of its channels


@dataclass(frozen=True, slots=True)
class Residual(Layer):
    """Two convolutions whose result is added to what came in (He et al. 2016, basic block).

    Batch normalisation after both; where channels or size change, a 1×1 convolution fits the shortcut.
    """

    KIND: ClassVar[str] = "residual"
    TITLE: ClassVar[str] = "Residual"
    RANGES: ClassVar[dict[str, Range]] = {"channels": (1, 1024), "kernel": (1, 11), "stride": (1, 4)}
    channels: int
    kernel: int = 3
    stride: int = 1

    def __post_init__(self) -> None:
        Layer.__post_init__(self)
        if self.kernel % 2 == 0:
            raise LayerError(
                "{layer}: the kernel must be odd (1, 3, 5 …), so that both paths keep one size, not {kernel}",
                layer=self.TITLE,
                kernel=self.kernel,
            )

    @property
    def settings(self) -> str:
        """See the base."""
        return f"{self.kernel}×{self.kernel}" + (f", stride {self.stride}" if self.stride > 1 else "")

    def fitted(self, channels: int) -> bool:
        """Whether the shortcut needs a convolution for an input of so many channels."""
        return channels != self.channels or self.stride != 1

    def out(self, shape: Shape) -> Shape:
        """See the base."""
        return windowed(shape, self.channels, self.kernel, self.stride, self.kernel // 2)

    def cost(self, shape: Shape) -> tuple[int, int]:
        """See the base."""
        weights = self.kernel**2 * self.channels * (shape[0] + self.channels)
        weights += shape[0] * self.channels if self.fitted(shape[0]) else 0
        norms = 2 * self.channels * (3 if self.fitted(shape[0]) else 2)
        _, height, width = self.out(shape)
        return weights + norms, weights * height * width


@dataclass(frozen=True, slots=True)
class Inception(Layer):
    """Kernels of 1×1, 3×3 and 5×5 and a pooling side by side (Szegedy et al. 2015).

    Of the output's channels half come from 3×3, a quarter from 1×1, an eighth each from 5×5 and pooling:
    the proportions of GoogLeNet's block 3a. 1×1 convolutions thin out what the large kernels get.
    """

    KIND: ClassVar[str] = "inception"
    TITLE: ClassVar[str] = "Inception"
    RANGES: ClassVar[dict[str, Range]] = {"channels": (8, 1024)}
    channels: int

    def __post_init__(self) -> None:
        Layer.__post_init__(self)
        if self.channels % INCEPTION_STEP:
            raise LayerError(
                "{layer}: channels must be a multiple of {step}, because four branches share them; "
                "{value} is not, take {near}",
                layer=self.TITLE,
                step=INCEPTION_STEP,
                value=self.channels,
                near=max(1, round(self.channels / INCEPTION_STEP)) * INCEPTION_STEP,
            )

    @property
    def convolutions(self) -> tuple[tuple[str, str, int, int], ...]:
        """``(name, what it reads, channels, kernel)`` of every convolution; "" reads the block's input."""
        c = self.channels
        return (
            ("one", "", c // 4, 1),
            ("thin3", "", max(1, c * 3 // 8), 1),
            ("three", "thin3", c // 2, 3),
            ("thin5", "", max(1, c // 16), 1),
            ("five", "thin5", c // 8, 5),
            ("pooled", "", c // 8, 1),
        )

    def out(self, shape: Shape) -> Shape:
        """See the base."""
        _, height, width = needs_maps(shape)
        return self.channels, height, width

    def cost(self, shape: Shape) -> tuple[int, int]:
        """See the base."""
        wide = {"": shape[0]} | {name: channels for name, _, channels, _ in self.convolutions}
        weights = sum(wide[source] * c * kernel**2 for _, source, c, kernel in self.convolutions)
        norms = sum(2 * c for _, _, c, _ in self.convolutions)
        return weights + norms, weights * shape[1] * shape[2]


LAYERS: tuple[type[Layer], ...] = (
    Conv2D,
    MaxPool,
    AvgPool,
    GlobalAvgPool,
    BatchNorm,
    Dropout,
    Flatten,
    Linear,
    ReLU,
    Softmax,
    Residual,
    Inception,
)
