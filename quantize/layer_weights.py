"""The integers of one layer: weights as int8, bias as int32, with everything folded in that can be."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx

from imago.quantize.grid import Grid, IntWeights, int_weights
from imago.quantize.onnx_view import Array, Node, View, attribute
from imago.quantize.plan import Image, Layer
from imago.quantize.statistics import Statistics


@dataclass(frozen=True, slots=True)
class WeightOptions:
    """How weights are stored: one scale per output channel, or one for all.

    correct_bias: take out of the bias what rounding the weights does to the mean of each output (Nagel et
    al. 2019, "Data-free quantization through weight equalization and bias correction", with E[x] measured).
    """

    per_channel: bool = True
    correct_bias: bool = True


@dataclass(frozen=True, eq=False, slots=True)
class LayerWeights:
    """bias: int32 ``(outputs,)`` on the grid ``bias_scales`` (input scale × weight scales).

    exact_weight, exact_bias: float32, what the integers stand for, before rounding and correction.
    """

    weight: IntWeights
    bias: Array
    bias_scales: Array
    exact_weight: Array
    exact_bias: Array


@dataclass(frozen=True, eq=False, slots=True)
class FloatNetwork:
    """A prepared float network, and what was measured of it; all integer versions are made from here.

    statistics: of its tensors; without them no bias is corrected. Rounded weights are kept, since most
    candidates differ in their activations only.
    """

    view: View
    statistics: Statistics = field(default_factory=dict)
    _rounded: dict[tuple[str, bool], tuple[IntWeights, Array]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: onnx.ModelProto, statistics: Statistics | None = None) -> FloatNetwork:
        """From a model that ``prepared`` gave."""
        return cls(View(model), statistics or {})

    def integers(self, layer: Layer, grid: Grid, options: WeightOptions, image: Image | None) -> LayerWeights:
        """Integer weights of ``layer``, whose input lives on ``grid``. image: where that is the picture."""
        node, (factor, addend) = layer.node, layer.fold
        weight = self.view.constants[node.input[1]].astype(np.float64) * factor
        bias = _bias(self.view, node) * factor + addend
        if image is not None:
            bias = bias + (weight.sum((2, 3)) * np.broadcast_to(image.rest, weight.shape[1])).sum(1)
            weight = np.pad(weight, ((0, 0), (0, image.extra_channels), (0, 0), (0, 0)))
        whole, mean_error = self._round(layer, weight, options.per_channel)
        corrected = bias - mean_error if options.correct_bias else bias
        scales = (np.float32(grid.scale) * whole.scales).astype(np.float32)
        limit = np.iinfo(np.int32)
        stored = np.clip(np.rint(corrected / scales), limit.min, limit.max).astype(np.int32)
        return LayerWeights(whole, stored, scales, weight.astype(np.float32), bias.astype(np.float32))

    def _round(self, layer: Layer, weight: Array, per_channel: bool) -> tuple[IntWeights, Array]:
        node, key = layer.node, (layer.node.output[0], per_channel)
        if key not in self._rounded:
            whole = int_weights(weight, per_channel=per_channel, axis=output_axis(node))
            error = np.zeros(1)
            if node.input[0] in self.statistics:
                error = mean_error(node, whole.real - weight, self.statistics[node.input[0]].means)
            self._rounded[key] = whole, error
        return self._rounded[key]


def output_axis(node: Node) -> int:
    """Which axis of the weights counts the outputs."""
    if node.op_type == "Conv":
        return 0
    return 0 if node.op_type == "Gemm" and attribute(node, "transB", 0) else 1


def mean_error(node: Node, error: Array, means: Array) -> Array:
    """What ``error`` in the weights adds to each output on average: error · E[x], ``(outputs,)``.

    means: of each input channel; borders, where a convolution sees zeros instead, are neglected.
    """
    if node.op_type != "Conv":
        return np.asarray((error if output_axis(node) == 0 else error.T) @ means)
    groups = attribute(node, "group", 1)
    taps = error.sum((2, 3))  # (outputs, inputs of a group)
    means = np.pad(means, (0, taps.shape[1] * groups - len(means)))  # the picture's extra channel is 0
    owner = np.repeat(np.arange(groups), len(taps) // groups)
    return np.asarray((taps * means.reshape(groups, -1)[owner]).sum(1))


def _bias(view: View, node: Node) -> Array:
    outputs = view.constants[node.input[1]].shape[output_axis(node)]
    bias = view.constant(node, 2)
    return np.zeros(outputs) if bias is None else np.broadcast_to(bias.astype(np.float64).ravel(), outputs)
