"""What an ONNX file says, looked up from both ends: constants, producers, quantiser pairs, tied scales."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from imago.edge_runtime.errors import ModelError
from imago.quantize.qat.operators import Op

Array = npt.NDArray[Any]

QUANTISERS = ("QuantizeLinear", "DequantizeLinear")
# Engines run these on integers, or leave out a quantiser, only where those before and after are the same.
TRANSPARENT = (
    "Concat", "Flatten", "Identity", "MaxPool", "Reshape", "Split", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Reading:
    """A model, with the look-ups that building a network from it needs."""

    model: onnx.ModelProto

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        """In the file's order, which is an order of execution."""
        return list(self.model.graph.node)

    @cached_property
    def constants(self) -> dict[str, Array]:
        """The file's initialisers by name."""
        return {i.name: numpy_helper.to_array(i) for i in self.model.graph.initializer}

    @cached_property
    def producer(self) -> dict[str, onnx.NodeProto]:
        """The node that makes a tensor."""
        return {name: node for node in self.nodes for name in node.output}

    @cached_property
    def consumers(self) -> dict[str, list[tuple[onnx.NodeProto, int]]]:
        """Who uses a tensor, and as which input."""
        found: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
        for node in self.nodes:
            for position, name in enumerate(node.input):
                found.setdefault(name, []).append((node, position))
        return found

    @cached_property
    def named(self) -> dict[str, onnx.NodeProto]:
        """Nodes by name."""
        return {node.name: node for node in self.nodes if node.name}

    def op(self, node: onnx.NodeProto) -> Op:
        """The node as ``operators`` sees it."""
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        constants = {k: self.constants[n] for k, n in enumerate(node.input) if n in self.constants}
        return Op(node.op_type, node.name, attributes, constants)

    def constant(self, node: onnx.NodeProto, position: int) -> Array:
        """A constant that must be there. Raises ModelError where it is computed instead."""
        name = node.input[position]
        if name not in self.constants:
            raise self.op(node).unsupported(f"{name} is no constant")
        return self.constants[name]

    def zero_point(self, node: onnx.NodeProto) -> Array:
        """Of a QuantizeLinear or DequantizeLinear; where it is left out: 0, uint8."""
        if len(node.input) < 3 or not node.input[2]:
            return np.zeros((), np.uint8)
        return self.constant(node, 2)

    def unpacked(self) -> list[onnx.NodeProto]:
        """The DequantizeLinear nodes of constants: stored weights and biases."""
        return [n for n in self.nodes if n.op_type == "DequantizeLinear" and n.input[0] in self.constants]

    def pair_of(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """The QuantizeLinear that a DequantizeLinear undoes; None where it reads anything else."""
        before = self.producer.get(node.input[0])
        if before is None or before.op_type != "QuantizeLinear" or not self._equal(before, node):
            return None
        return before

    def fused(self, node: onnx.NodeProto) -> bool:
        """Whether everybody who reads a QuantizeLinear just undoes it."""
        return all(
            user.op_type == "DequantizeLinear" and self.pair_of(user) is not None
            for user, _ in self.consumers.get(node.output[0], ())
        )

    @cached_property
    def groups(self) -> dict[str, str]:
        """Quantisers of activations (by their output) that must keep one scale → the group's first: those
        that are equal on both sides of a pair, or of transparent nodes."""
        stands: dict[str, str] = {}

        def find(name: str) -> str:
            while stands.setdefault(name, name) != name:
                name = stands[name]
            return name

        for node in self.nodes:
            if node.op_type not in QUANTISERS or node.input[0] in self.constants:
                continue
            if node.op_type == "QuantizeLinear":
                others = [other for other in self._behind(node.input[0]) if self._equal(node, other)]
            else:
                others = [pair for pair in (self.pair_of(node),) if pair is not None]
            for other in others:
                stands[find(node.output[0])] = find(other.output[0])
            find(node.output[0])
        return {name: find(name) for name in stands}

    def _behind(self, name: str) -> list[onnx.NodeProto]:
        """The quantisers whose numbers reach a tensor unchanged."""
        node = self.producer.get(name)
        if node is None:
            return []
        if node.op_type in TRANSPARENT:
            return [found for before in node.input for found in self._behind(before)]
        pair = self.pair_of(node) if node.op_type == "DequantizeLinear" else None
        return [] if pair is None else [pair]

    def _equal(self, one: onnx.NodeProto, two: onnx.NodeProto) -> bool:
        """Same grid; a vector that repeats one number counts as that number."""
        scales = self.constant(one, 1), self.constant(two, 1)
        points = self.zero_point(one), self.zero_point(two)
        return all(np.unique(np.concatenate([a.ravel(), b.ravel()])).size == 1 for a, b in (scales, points))

    def logits(self) -> str:
        """What the last Softmax turns into probabilities. Raises ModelError where there is none."""
        name = self.model.graph.output[0].name
        while (node := self.producer.get(name)) is not None:
            if node.op_type == "Softmax":
                return str(node.input[0])
            if node.op_type not in ("QuantizeLinear", "DequantizeLinear", "Identity"):
                break
            name = node.input[0]
        raise ModelError(
            "this model does not end in a Softmax, which quantisation-aware training needs; "
            "quantise without --qat"
        )


def separated(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of ``model`` in which no two scales share an initialiser just because they were equal."""
    fresh = onnx.ModelProto()
    fresh.CopyFrom(model)
    file = Reading(fresh)
    owner: dict[str, str] = {}
    for node in file.nodes:
        if node.op_type not in QUANTISERS:
            continue
        name = node.input[1]
        group = node.input[0] if node.input[0] in file.constants else file.groups[node.output[0]]
        if owner.setdefault(name, group) == group:
            continue
        own = f"{name}.{group}"
        if own not in owner:
            owner[own] = group
            fresh.graph.initializer.append(numpy_helper.from_array(file.constants[name], own))
        node.input[1] = own
    return fresh
