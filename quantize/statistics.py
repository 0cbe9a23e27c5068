"""What flows through a float network on calibration pictures, collected once and used by every scheme.

Two passes with every tensor as an output: the first for the exact minimum and maximum, the second for a
histogram between them and for channel means. ONNX Runtime's own calibrators run the network once per
scheme and keep whole tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from imago.edge_runtime.types import U8
from imago.quantize.onnx_view import Array, View
from imago.quantize.ort_tools import open_session

BINS = 2048
SAMPLE = 16_384  # values of one tensor and picture that enter its histogram; the extremes are exact


@dataclass(frozen=True, eq=False, slots=True)
class TensorStatistics:
    """One tensor over all calibration pictures.

    low, high: exact extremes. counts: int64 ``(BINS,)`` over ``low``…``high``. means: float64 per channel.
    """

    low: float
    high: float
    counts: Array
    means: Array

    @property
    def centers(self) -> Array:
        """The middle of each bin."""
        width = (self.high - self.low) / len(self.counts)
        return self.low + width * (np.arange(len(self.counts)) + 0.5)


Statistics = Mapping[str, TensorStatistics]


def collect(
    model: onnx.ModelProto, tensors: U8, advance: Callable[[], None] = lambda: None
) -> dict[str, TensorStatistics]:
    """Statistics of every float tensor of ``model`` over ``tensors`` (uint8 ``(n, *input without batch)``).

    advance: called twice per picture.
    """
    names, run = _observed(model, tensors[0])
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    for row in tensors:
        for k, values in enumerate(run(row)):
            low[k], high[k] = min(low[k], values.min()), max(high[k], values.max())
        advance()
    width = np.maximum(high - low, 1e-12) / BINS
    counts = np.zeros((len(names), BINS), np.int64)
    sums: list[Array] = [np.zeros(1)] * len(names)
    for row in tensors:
        for k, values in enumerate(run(row)):
            sample = values.ravel()[:: max(1, -(-values.size // SAMPLE))]
            bins = np.minimum((sample - low[k]) / width[k], BINS - 1).astype(np.int64)
            counts[k] += np.bincount(bins, minlength=BINS)
            sums[k] = sums[k] + values[0].reshape(values.shape[1], -1).mean(1, dtype=np.float64)
        advance()
    return {
        name: TensorStatistics(float(low[k]), float(high[k]), counts[k], sums[k] / len(tensors))
        for k, name in enumerate(names)
    }


def _observed(model: onnx.ModelProto, row: U8) -> tuple[list[str], Callable[[U8], list[Array]]]:
    """Names of the float tensors with a batch and channels, and a function that computes them all."""
    view = View(model)
    names = [name for node in view.graph.node for name in node.output if name]
    del view.graph.output[:]
    view.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = open_session(onnx.shape_inference.infer_shapes(view.model))
    first = session.run(names, {view.image: row[None]})
    kept = [n for n, v in zip(names, first, strict=True) if v.dtype == np.float32 and v.ndim >= 2]
    return kept, lambda picture: session.run(kept, {view.image: picture[None]})
