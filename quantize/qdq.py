"""A float ONNX graph rewritten with QuantizeLinear and DequantizeLinear, in the places where engines fuse
them into integer kernels. The result is plain ONNX: any engine runs it, and its floats can be trained on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from imago.quantize.grid import Grid
from imago.quantize.layer_weights import FloatNetwork, LayerWeights, WeightOptions
from imago.quantize.onnx_view import Array, Node
from imago.quantize.plan import WEIGHTED, Layer, Plan, Ranges, make_plan

HARD_SWISH_TOP = 254  # from here on the stored number for x = 3 is as good as the top of uint8


def quantised(
    network: FloatNetwork,
    ranges: Ranges,
    weights: WeightOptions | None = None,
    floats: frozenset[str] = frozenset(),
    *,
    exact: bool = False,
) -> onnx.ModelProto:
    """``network`` in QDQ form; metadata are left to the caller.

    ranges: ``(low, high)`` of its tensors. floats: names of nodes that stay float. exact: the twin of the
    same nodes whose weights and biases are the float ones, unrounded, as folded for the integer kernels:
    where quantisation-aware training starts from. Raises ModelError where a range is missing.
    """
    plan = make_plan(network.view, ranges, floats)
    return _Writer(network, plan, weights or WeightOptions(), exact=exact).write()


class _Writer:
    """Writes the nodes of the new graph in the order of the old one."""

    def __init__(self, network: FloatNetwork, plan: Plan, weights: WeightOptions, *, exact: bool) -> None:
        self.exact = exact
        self.network, self.view, self.plan, self.weights = network, network.view, plan, weights
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}
        self._shared: dict[tuple[str, bytes], str] = {}
        self._stored: dict[str, str] = {}  # float tensor → its uint8 tensor, once that is written
        self._loaded: dict[str, str] = {}  # float tensor → what comes back from it
        # float tensors that integer kernels give, so that their values exist in storage only
        self._lost = {name for y in plan.layers.values() for name in (y.output, *y.node.output[1:])}

    def write(self) -> onnx.ModelProto:
        """The whole model."""
        self._write_image()
        for node in self.view.graph.node:
            layer = self.plan.layers.get(node.output[0])
            if layer is not None:
                self._write_integer(layer)
            elif node.output[0] not in self.plan.skipped:
                self._write_float(node)
        source = self.view.model
        graph = helper.make_graph(
            self.nodes,
            "imago",
            list(source.graph.input),
            list(source.graph.output),
            [numpy_helper.from_array(np.asarray(v, order="C"), k) for k, v in self.constants.items()],
        )
        made = helper.make_model(graph, opset_imports=source.opset_import, ir_version=source.ir_version)
        made.producer_name = "imago"
        return made

    def _add(self, kind: str, inputs: list[str], output: str, name: str = "", **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name, **attributes))
        return output

    def _copy(self, node: Node, inputs: list[str], output: str) -> None:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        del copy.input[:]
        copy.input.extend(inputs)
        copy.output[0] = output
        self.nodes.append(copy)

    def _constant(self, name: str, values: Array) -> str:
        self.constants[name] = values
        return name

    def _scalar(self, value: np.generic) -> str:
        """A shared constant of shape (): with shape (1,) ONNX Runtime leaves Add and Mul in float."""
        key = (value.dtype.str, value.tobytes())
        if key not in self._shared:
            self._shared[key] = self._constant(f"s{len(self._shared)}", np.asarray(value))
        return self._shared[key]

    def _scale_and_zero(self, grid: Grid) -> list[str]:
        return [self._scalar(np.float32(grid.scale)), self._scalar(np.uint8(grid.zero))]

    def _store(self, name: str) -> str:
        """The uint8 tensor of a float one, written when first asked for."""
        if name not in self._stored:
            inputs = [name, *self._scale_and_zero(self.plan.grids[name])]
            self._stored[name] = self._add("QuantizeLinear", inputs, f"{name}_q")
        return self._stored[name]

    def _load(self, name: str) -> str:
        """Float tensor ``name`` as it comes back from storage."""
        if name not in self._loaded:
            inputs = [self._store(name), *self._scale_and_zero(self.plan.grids[name])]
            self._loaded[name] = self._add("DequantizeLinear", inputs, f"{name}_d")
        return self._loaded[name]

    def _write_image(self) -> None:
        """Pixels are stored integers already."""
        image = self.plan.image
        if image is None:
            return
        self._lost.add(image.tensor)
        source = self.view.image
        if image.extra_channels:
            pads = self._constant("pads", np.array([0, 0, 0, 0, 0, image.extra_channels, 0, 0], np.int64))
            source = self._add("Pad", [source, pads], f"{source}_wide", "widen_image")
        self._stored[image.tensor] = source

    def _write_float(self, node: Node) -> None:
        inputs = []
        for name in node.input:
            if name in self.view.constants:
                inputs.append(self._constant(name, self.view.constants[name]))
            elif name not in self.plan.grids or name not in self._lost:
                inputs.append(name)
            else:
                inputs.append(self._load_for_float(name))
        self._copy(node, inputs, node.output[0])

    def _load_for_float(self, name: str) -> str:
        """Float tensor ``name`` for a node that stays float.

        ONNX Runtime carries a DequantizeLinear over MaxPool, Reshape and the like, and quantises the weights
        of a layer that then stands between it and a QuantizeLinear by itself (QDQPropagation,
        WeightBiasQuantization), unless the scale is a vector. So it is one, of equal values.
        """
        known = self.network.statistics.get(name)
        if known is None:
            return self._load(name)
        key, grid, channels = f"{name}_v", self.plan.grids[name], len(known.means)
        if key not in self._loaded:
            scale = self._constant(f"{key}s", np.full(channels, grid.scale, np.float32))
            zero = self._constant(f"{key}z", np.full(channels, grid.zero, np.uint8))
            self._loaded[key] = self._add("DequantizeLinear", [self._store(name), scale, zero], key, axis=1)
        return self._loaded[key]

    def _write_integer(self, layer: Layer) -> None:
        node = layer.node
        if node.op_type in WEIGHTED:
            self._write_weighted(layer)
        elif node.op_type == "HardSwish":
            self._write_hard_swish(node)
        else:
            self._copy(node, [self._operand(name) for name in node.input], layer.output)
        for name in (layer.output, *node.output[1:]):
            if name in self.plan.grids:
                self._store(name)

    def _operand(self, name: str) -> str:
        if name in self.plan.grids:
            return self._load(name)
        return self._constant(name, self.view.constants[name]) if name else ""

    def _write_hard_swish(self, node: Node) -> None:
        """x · clip(x/6 + 1/2): on the grid of ``hard_swish_grid`` the second factor is the same stored number
        on a scale of its own, cut in integers at x = 3."""
        name, output = node.input[0], node.output[0]
        grid, stored = self.plan.grids[name], self._store(name)
        if 2 * grid.zero < HARD_SWISH_TOP:
            top = self._scalar(np.uint8(2 * grid.zero))
            stored = self._add("Clip", [stored, "", top], f"{output}_c", f"{node.name}_clip")
        gate = self._scale_and_zero(Grid(float(np.float32(grid.scale / 6)), 0))
        factor = self._add("DequantizeLinear", [stored, *gate], f"{output}_g")
        self._add("Mul", [self._load(name), factor], output, node.name)

    def _write_weighted(self, layer: Layer) -> None:
        node, name, image = layer.node, layer.node.input[0], self.plan.image
        given = image if image is not None and name == image.tensor else None
        made = self.network.integers(layer, self.plan.grids[name], self.weights, given)
        inputs = [self._load(name), self._weight(node.output[0], made)]
        if node.op_type != "MatMul":  # which has no bias
            inputs.append(self._bias(node.output[0], made))
        self._copy(node, inputs, layer.output)

    def _weight(self, base: str, made: LayerWeights) -> str:
        if self.exact:
            return self._constant(f"{base}_w", made.exact_weight)
        whole = made.weight
        values = self._constant(f"{base}_w", whole.values)
        if len(whole.scales) == 1:
            inputs = [values, self._scalar(whole.scales[0]), self._scalar(np.int8(0))]
            return self._add("DequantizeLinear", inputs, f"{base}_wd")
        scales = self._constant(f"{base}_s", whole.scales)
        zeros = self._constant(f"z{len(whole.scales)}", np.zeros(len(whole.scales), np.int8))
        return self._add("DequantizeLinear", [values, scales, zeros], f"{base}_wd", axis=whole.axis)

    def _bias(self, base: str, made: LayerWeights) -> str:
        if self.exact:
            return self._constant(f"{base}_b", made.exact_bias)
        values = self._constant(f"{base}_b", made.bias)
        if len(made.bias_scales) == 1:
            return self._add("DequantizeLinear", [values, self._scalar(made.bias_scales[0])], f"{base}_bd")
        scales = self._constant(f"{base}_bs", made.bias_scales)
        return self._add("DequantizeLinear", [values, scales], f"{base}_bd", axis=0)
