"""From an ONNX file to the parts of a ``GraphModule``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from torch import Tensor

from imago.quantize.qat.fake import (
    Array,
    Dequantiser,
    FakeQuantiser,
    QuantisedBias,
    QuantisedWeight,
    Quantiser,
    Scale,
    Values,
)
from imago.quantize.qat.network import GraphModule, Plan, Step, Stored
from imago.quantize.qat.operators import function_of
from imago.quantize.qat.reading import QUANTISERS, Reading

LAYERS = ("Conv", "Gemm", "MatMul")  # their constants are weights
REDUCED = 64  # weights that stay within ±64 leave room for 16-bit sums (old AVX2 machines)


def graph_module(
    model: onnx.ModelProto, near: onnx.ModelProto | None = None, *, learn_scales: bool = True
) -> GraphModule:
    """``model`` (uint8 pixels in, Softmax at the end; float, QDQ, or mixed) as a torch network.

    near: the float model that ``model`` was quantised from, node names alike: its weights are where training
    starts from, instead of the stored integers. learn_scales: train the activations' scales too.

    Raises ModelError for operators and forms that are not known.
    """
    return GraphModule(
        _Builder(Reading(model), Reading(near) if near is not None else None, learn_scales).plan()
    )


class _Builder:
    def __init__(self, file: Reading, near: Reading | None, learn_scales: bool) -> None:
        self.file, self.near, self.learn_scales = file, near, learn_scales
        graph = file.model.graph
        self.made = Plan(graph.input[0].name, file.logits(), graph.output[0].name)
        self._same: dict[str, str] = {}  # dequantised tensor → quantised: the same here
        self._parts: dict[str, QuantisedWeight | QuantisedBias | Values] = {}  # by initialiser

    def plan(self) -> Plan:
        self._activation_scales()
        stored = self.file.unpacked()
        for node in stored:
            if self.file.constant(node, 0).dtype != np.int32:
                self._weight(node)
        for node in stored:
            if self.file.constant(node, 0).dtype == np.int32:
                self._bias(node)
        for node in self.file.nodes:
            self._step(node)
        self.made.steps = _with_last_uses(self.made.steps)
        self.made.logits = self._same.get(self.made.logits, self.made.logits)
        self.made.output = self._same.get(self.made.output, self.made.output)
        return self.made

    def _activation_scales(self) -> None:
        """One scale for each group of tied quantisers."""
        learned = self._behind_weights()
        shared: dict[str, Scale] = {}
        for node in self.file.nodes:
            if node.op_type not in QUANTISERS or node.input[0] in self.file.constants:
                continue
            name, group = node.input[1], self.file.groups[node.output[0]]
            if group not in shared:
                start = self._single(node)
                trainable = self.learn_scales and node.input[0] in learned
                shared[group] = Scale(start, trainable=trainable, ceiling=self._ceiling(node, float(start)))
            self.made.scales[name] = shared[group]

    def _behind_weights(self) -> set[str]:
        """Tensors that depend on weights; the picture itself needs no learned scale."""
        behind: set[str] = set()
        for node in self.file.nodes:
            if node.op_type in LAYERS or behind & set(node.input):
                behind.update(node.output)
        return behind

    def _single(self, node: onnx.NodeProto) -> Array:
        scale = np.unique(self.file.constant(node, 1))
        if scale.size != 1 or not scale.item() > 0:
            raise self.file.op(node).unsupported(f"scales {scale[:4].tolist()}")
        return scale.reshape(())

    def _ceiling(self, node: onnx.NodeProto, start: float) -> float:
        """The largest scale at which a Clip just before the quantiser cuts nothing off."""
        before = self.file.producer.get(node.input[0])
        if node.op_type != "QuantizeLinear" or before is None or before.op_type != "Clip":
            return np.inf
        high = self._limits(node)[1]
        largest = float(np.float32(self.file.op(before).number(2, np.inf)) / np.float32(max(high, 1)))
        return largest if start <= largest else np.inf

    def _limits(self, node: onnx.NodeProto) -> tuple[float, float]:
        """Smallest and largest integer less the zero point."""
        point = self.file.zero_point(node)
        if point.dtype.kind not in "iu" or np.unique(point).size != 1:
            raise self.file.op(node).unsupported(f"zero point {point.dtype}")
        info, middle = np.iinfo(point.dtype), int(point.ravel()[0])
        return float(info.min - middle), float(info.max - middle)

    def _weight(self, node: onnx.NodeProto) -> None:
        name, scale_name = node.input[0], node.input[1]
        if name not in self._parts:
            point = int(self.file.zero_point(node).ravel()[0])
            integers = self.file.constant(node, 0).astype(np.int64) - point
            limits = _range_in_use(integers, *self._limits(node))
            if scale_name not in self.made.scales:
                steps = self._along_axis(node, integers.ndim)
                self.made.scales[scale_name] = Scale(steps, trainable=True)
            part = QuantisedWeight(integers, self.made.scales[scale_name], self._near(node), limits)
            self._keep(part, name, zero_point=point)
        self.made.parts[node.output[0]] = self._parts[name]

    def _along_axis(self, node: onnx.NodeProto, dimensions: int) -> Array:
        """The scale in a shape that broadcasts against the weights."""
        scale = self.file.constant(node, 1)
        if scale.size == 1:
            return scale.reshape(())
        shape = [1] * dimensions
        shape[int(self.file.op(node).attributes.get("axis", 1))] = scale.size
        return scale.reshape(shape)

    def _bias(self, node: onnx.NodeProto) -> None:
        name = node.input[0]
        if name not in self._parts:
            part = QuantisedBias(self.file.constant(node, 0), self._accumulator(node), self._near(node))
            self._keep(part, name, node.input[1])
        self.made.parts[node.output[0]] = self._parts[name]

    def _accumulator(self, node: onnx.NodeProto) -> tuple[Scale, ...]:
        """Whose product is a bias's scale: the layer's input and weights, or a fixed scale of its own."""
        user, _ = self.file.consumers[node.output[0]][0]
        before = self.file.producer.get(user.input[0])
        weights = self.made.parts.get(user.input[1])
        if before is None or before.op_type != "DequantizeLinear" or not isinstance(weights, QuantisedWeight):
            fixed = Scale(self.file.constant(node, 1), trainable=False)
            self.made.scales[node.input[1]] = fixed
            return (fixed,)
        return self.made.scales[before.input[1]], weights.scale

    def _keep(
        self, part: QuantisedWeight | QuantisedBias | Values, name: str, scale: str = "", zero_point: int = 0
    ) -> None:
        self._parts[name] = part
        self.made.stored.append(Stored(part, name, scale, zero_point))

    def _near(self, node: onnx.NodeProto) -> Array | None:
        """The float values that a stored integer tensor was made from, found through its user."""
        if self.near is None:
            return None
        for user, position in self.file.consumers.get(node.output[0], ()):
            twin = self.near.named.get(user.name)
            if twin is not None and position < len(twin.input):
                return self.near.constants.get(twin.input[position])
        return None

    def _step(self, node: onnx.NodeProto) -> None:
        inputs = tuple(self._same.get(name, name) for name in node.input)
        if node.op_type == "QuantizeLinear":
            run: Callable[..., Any] = self._quantiser(node)
            inputs = inputs[:1]
        elif node.op_type == "DequantizeLinear":
            if node.input[0] in self.file.constants:
                return
            pair = self.file.pair_of(node)
            if pair is not None and self.file.fused(pair):
                self._same[node.output[0]] = node.input[0]
                return
            run, inputs = Dequantiser(self.made.scales[node.input[1]], self._zero(node)), inputs[:1]
        else:
            run = function_of(self.file.op(node))
            self._constants(node)
        self.made.steps.append(Step(run, inputs, tuple(node.output)))

    def _quantiser(self, node: onnx.NodeProto) -> Callable[[Tensor], Tensor]:
        scale, (low, high) = self.made.scales[node.input[1]], self._limits(node)
        if self.file.fused(node):
            return FakeQuantiser(scale, low, high)
        return Quantiser(scale, low, high, self._zero(node))

    def _zero(self, node: onnx.NodeProto) -> float:
        return float(self.file.zero_point(node).ravel()[0])

    def _constants(self, node: onnx.NodeProto) -> None:
        """Float numbers that a node reads straight from the file: weights of float layers, and the rest."""
        for position, name in enumerate(node.input):
            values = self.file.constants.get(name)
            if values is None or values.dtype.kind != "f" or name in self.made.parts:
                continue
            if node.op_type in LAYERS and position:
                self._keep(Values(values, _unit(values)), name)
                self.made.parts[name] = self._parts[name]
            else:
                self.made.constants[name] = values


def _range_in_use(integers: Array, low: float, high: float) -> tuple[float, float]:
    """Symmetric weights keep the range they were given: ±127, or ±64 where the file has 7 bits."""
    if (low, high) != (-128, 127) or integers.size == 0 or integers.min() < -127:
        return low, high
    most = REDUCED if np.abs(integers).max() <= REDUCED else 127
    return float(-most), float(most)


def _unit(values: Array) -> Array:
    """The largest magnitude of each output channel, or of a vector as a whole."""
    axes = tuple(range(1, values.ndim)) or None
    largest = np.abs(values).max(axis=axes, keepdims=True)
    return np.where(largest > 0, largest, 1)


def _with_last_uses(steps: list[Step]) -> list[Step]:
    """Tensors are dropped after their last use: evaluation would hold every feature map otherwise."""
    made = {name for step in steps for name in step.outputs}
    seen: set[str] = set()
    result: list[Step] = []
    for step in reversed(steps):
        used = {n for n in (*step.inputs, *step.outputs) if n in made}
        result.append(replace(step, dropped=tuple(used - seen)))
        seen |= used
    return result[::-1]
