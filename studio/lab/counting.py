"""How many weights a layer has: fully connected against convolution, the lesson's "parameter explosion"."""

from __future__ import annotations

from dataclasses import dataclass

from imago.train.models.layers import Conv2D, Linear

BYTES = 4  # of one weight, float32
LESSON_SIDES = (5, 10, 28, 32, 100, 224)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A fully connected layer and a convolution on the same picture.

    side, channels: of the picture. units: neurons of the hidden layer; the lesson takes as many as there are
    inputs. kernels, kernel: of the convolution.
    """

    side: int
    channels: int = 1
    units: int | None = None
    kernels: int = 6
    kernel: int = 5

    @property
    def inputs(self) -> int:
        """Numbers in the picture."""
        return self.side * self.side * self.channels

    @property
    def neurons(self) -> int:
        """Hidden neurons in force."""
        return self.inputs if self.units is None else self.units

    @property
    def dense_weights(self) -> int:
        """One per connection, without biases: what the lesson counts."""
        return self.inputs * self.neurons

    @property
    def dense(self) -> int:
        """Weights and biases of the fully connected layer."""
        return self.dense_weights + self.neurons

    @property
    def conv_weights(self) -> int:
        """One per place in each kernel, without biases."""
        return self.kernel**2 * self.channels * self.kernels

    @property
    def conv(self) -> int:
        """Weights and biases of the convolution, whatever the picture's size."""
        return self.conv_weights + self.kernels

    @property
    def ratio(self) -> float:
        """How many times as many weights the fully connected layer has."""
        return self.dense_weights / self.conv_weights

    @property
    def fits(self) -> bool:
        """Whether the kernel fits into the picture."""
        return self.kernel <= self.side

    def layers(self) -> tuple[Linear, Conv2D]:
        """The same two as layers of a network; tests hold the counts against them."""
        return Linear(self.neurons), Conv2D(self.kernels, self.kernel)


def megabytes(parameters: int) -> str:
    """Room that they take as float32: ``400 MB``."""
    size = parameters * BYTES
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:,.3g} {name}" if size / unit < 1000 else f"{size / unit:,.0f} {name}"
    return f"{size} B"
