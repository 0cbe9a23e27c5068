"""Which nodes of a float graph are to run in integers, and on which grid every tensor between them lives.

The forms are those that ONNX Runtime 1.18 to 1.32 turns into integer kernels, found by looking at the
optimised graphs (docs/decisions.md):

- a Conv, Gemm or Add takes the Relu or Clip behind it into its output grid, which saturates there;
- HardSigmoid behind a Conv is the same Conv with other weights and a grid from 0 to 1;
- HardSwish is x · (x/6 + 1/2 cut to 0…1): both factors are the same stored numbers, read on two scales;
- what only moves numbers (MaxPool, Reshape, …) keeps its input's grid.

Everything else stays float.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from imago.edge_runtime.errors import ModelError
from imago.quantize.grid import Grid, hard_swish_grid
from imago.quantize.onnx_view import Array, Node, View, attribute

WEIGHTED = frozenset(("Conv", "Gemm", "MatMul"))
BINARY = frozenset(("Add", "Mul"))
UNARY = frozenset(("GlobalAveragePool", "AveragePool", "Sigmoid", "LeakyRelu", "HardSwish", "Concat"))
MOVING = frozenset(("MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Split"))
CUTS = frozenset(("Relu", "Clip"))
LANES = 4  # ONNX Runtime's direct integer convolution on x86 takes input channels by fours …
DIRECT = 16  # … and wants at least so many output channels
UNIT = Grid(float(np.float32(1 / 255)), 0)  # 0…1
Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, eq=False, slots=True)
class Image:
    """The picture as a convolution's input, without a float in between.

    tensor: the float graph's name for it. grid: stored pixels minus its zero point are the values, up to
    rest: float64 ``(channels,)``, what is left of the offset and goes into the bias. extra_channels: of
    zeros, added where that opens a faster convolution. nodes: made needless.
    """

    tensor: str
    grid: Grid
    rest: Array
    extra_channels: int
    nodes: tuple[Node, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Layer:
    """A node that runs in integers. output: the tensor after what it takes in. absorbed: the Relu, Clip or
    HardSigmoid taken in. fold: ``(factor, addend)`` on weights and bias."""

    node: Node
    output: str
    absorbed: Node | None = None
    fold: tuple[float, float] = (1.0, 0.0)


@dataclass
class Plan:
    """layers: by name of the node's own output. grids: by float tensor, for those that are stored as uint8.
    skipped: outputs of nodes that need not be written any more."""

    image: Image | None
    layers: dict[str, Layer] = field(default_factory=dict)
    grids: dict[str, Grid] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)


def weighted_nodes(view: View) -> list[Node]:
    """The nodes whose weights can be stored as integers, in order; the unit of mixed precision."""
    return [n for n in view.graph.node if is_weighted(view, n)]


def is_weighted(view: View, node: Node) -> bool:
    """A Conv, Gemm or MatMul of a tensor with constant float weights (and a constant bias, or none)."""
    if node.op_type not in WEIGHTED or node.input[0] in view.constants:
        return False
    weight = view.constant(node, 1)
    known = weight is not None and weight.dtype == np.float32 and len(view.inputs(node)) == 1
    plain = node.op_type != "Gemm" or (
        attribute(node, "alpha", 1.0) == attribute(node, "beta", 1.0) == 1.0
        and not attribute(node, "transA", 0)
    )
    return known and plain and weight is not None and weight.ndim == (4 if node.op_type == "Conv" else 2)


def make_plan(view: View, ranges: Ranges, floats: frozenset[str] = frozenset()) -> Plan:
    """Decide for every node of ``view``. floats: names of nodes that stay float on request."""
    plan = Plan(_image(view, floats))
    if plan.image is not None:
        plan.grids[plan.image.tensor] = plan.image.grid
        plan.skipped |= {n.output[0] for n in plan.image.nodes}
    for node in view.graph.node:
        if node.output[0] in plan.skipped or node.name in floats or not _can(view, plan, node):
            continue
        layer = _layer(view, node)
        plan.layers[node.output[0]] = layer
        if layer.absorbed is not None:
            plan.skipped.add(layer.absorbed.output[0])
        for name in view.inputs(node):
            if name not in plan.grids:
                plan.grids[name] = _grid(view, name, ranges)
        if node.op_type in MOVING:
            plan.grids |= dict.fromkeys(node.output, plan.grids[node.input[0]])
        elif not _ends_in_float(view, layer):
            plan.grids[layer.output] = _output_grid(view, layer, ranges)
    return plan


def _can(view: View, plan: Plan, node: Node) -> bool:
    """Whether an integer form exists for ``node`` and pays here (what comes in is stored as integers)."""
    if is_weighted(view, node):
        return True
    stored = [name in plan.grids for name in view.inputs(node)]
    if node.op_type in MOVING:
        return stored[:1] == [True]
    if node.op_type in BINARY:
        return len(node.input) == len(stored) == 2 and any(stored)
    if node.op_type == "HardSwish":
        return stored == [True] and _only_hard_swish(view, node.input[0])
    return node.op_type in UNARY and any(stored)


def _layer(view: View, node: Node) -> Layer:
    user = view.only_user(node.output[0])
    if user is not None and (is_weighted(view, node) or node.op_type in BINARY):
        if user.op_type in CUTS and _cut(view, user) is not None:
            return Layer(node, user.output[0], user)
        if user.op_type == "HardSigmoid" and is_weighted(view, node):
            fold = (attribute(user, "alpha", 0.2), attribute(user, "beta", 0.5))
            return Layer(node, user.output[0], user, fold)
    return Layer(node, node.output[0])


def _cut(view: View, node: Node) -> tuple[float, float] | None:
    """The limits of a Relu or Clip; None where they are not constants or leave 0 out."""
    if node.op_type == "Relu":
        return 0.0, np.inf
    limits = [-np.inf, np.inf]
    for index in (1, 2):
        if len(node.input) > index and node.input[index]:
            value = view.constant(node, index)
            if value is None:
                return None
            limits[index - 1] = float(value)
    return (limits[0], limits[1]) if limits[0] <= 0 <= limits[1] else None


def _ends_in_float(view: View, layer: Layer) -> bool:
    """A last Gemm gives floats by itself, which is finer than uint8 and one node less."""
    if layer.node.op_type not in ("Gemm", "MatMul") or layer.absorbed is not None:
        return False
    kinds = {user.op_type for user in view.users[layer.output]}
    return not kinds & (WEIGHTED | BINARY | UNARY | MOVING)


def _output_grid(view: View, layer: Layer, ranges: Ranges) -> Grid:
    if layer.absorbed is not None and layer.absorbed.op_type == "HardSigmoid":
        return UNIT
    limits = (-np.inf, np.inf)
    if layer.absorbed is not None:
        limits = _cut(view, layer.absorbed) or limits
    return _grid(view, layer.output, ranges, limits)


def _grid(view: View, name: str, ranges: Ranges, limits: tuple[float, float] = (-np.inf, np.inf)) -> Grid:
    if name not in ranges:
        raise ModelError("the calibration says nothing about {tensor}; calibrate this very file", tensor=name)
    low, high = ranges[name]
    if _only_hard_swish(view, name):
        return hard_swish_grid(high)
    return Grid.over(max(low, limits[0]), min(high, limits[1]))


def _only_hard_swish(view: View, name: str) -> bool:
    users = view.users[name]
    return bool(users) and name not in view.outputs and all(u.op_type == "HardSwish" for u in users)


def _image(view: View, floats: frozenset[str]) -> Image | None:
    """``Cast`` of the picture, perhaps ``+ offset``, into convolutions that run in integers."""
    cast = view.only_user(view.image)
    if cast is None or cast.op_type != "Cast":
        return None
    nodes, offset = [cast], np.zeros(1)
    add = view.only_user(cast.output[0])
    if add is not None and add.op_type == "Add" and view.constant(add, 1) is not None:
        nodes.append(add)
        offset = view.constants[add.input[1]].astype(np.float64).ravel()
    tensor = nodes[-1].output[0]
    takers = view.users[tensor]
    if not takers or not all(n.op_type == "Conv" and is_weighted(view, n) for n in takers):
        return None
    if any(n.name in floats or attribute(n, "group", 1) != 1 for n in takers):
        return None
    zero = int(np.clip(round(float(-offset.mean())), 0, 255))
    extra = min(_extra_channels(view.constants[n.input[1]].shape) for n in takers)
    return Image(tensor, Grid(1.0, zero), offset + zero, extra, tuple(nodes))


def _extra_channels(weight: tuple[int, ...]) -> int:
    """Three channels copied byte by byte took 263 µs, four taken directly 113 (MobileNetV3-Small, 224 px)."""
    outputs, inputs = weight[:2]
    return LANES - inputs if inputs < LANES and outputs >= DIRECT and outputs % LANES == 0 else 0
