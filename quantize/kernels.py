"""Which nodes does the engine really run in integers? Read off the graph that ONNX Runtime optimised."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import TensorProto

from imago.quantize.onnx_view import label
from imago.quantize.ort_tools import optimised_graph
from imago.quantize.plan import CUTS, WEIGHTED

INTEGER_TYPES = frozenset((TensorProto.UINT8, TensorProto.INT8))
CONVERSIONS = frozenset(("QuantizeLinear", "DequantizeLinear"))
QGEMM_WITH_GRID = 9  # inputs; with fewer it computes in integers and gives floats
# Operators that only move numbers, of whatever type.
MOVING = frozenset(
    (
        "Transpose",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Pad",
        "Split",
        "Clip",
        "MaxPool",
        "NhwcMaxPool",
    )
)


@dataclass(frozen=True, slots=True)
class Kernels:
    """How a model runs on this machine. integer: nodes that read and write int8 or uint8.

    conversions: QuantizeLinear and DequantizeLinear that were not fused away. floats: ``(operator, name)``
    of every other node, in order.
    """

    integer: int
    conversions: int
    floats: tuple[tuple[str, str], ...]

    def summary(self) -> str:
        """``Softmax, 2 × HardSwish``: the float operators."""
        counts = Counter(kind for kind, _ in self.floats)
        return ", ".join(kind if n == 1 else f"{n} × {kind}" for kind, n in counts.items())

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "integer_nodes": self.integer,
            "conversion_nodes": self.conversions,
            "float_nodes": [{"operator": kind, "name": name} for kind, name in self.floats],
        }


def kernels(model: onnx.ModelProto) -> Kernels:
    """What ONNX Runtime makes of ``model`` here (its choice depends on the processor and its version)."""
    graph = optimised_graph(model)
    labels = _labels(model)
    stored = {i.name for i in graph.input if i.type.tensor_type.elem_type in INTEGER_TYPES}
    integer, conversions, floats = 0, 0, []
    for node in graph.node:
        computes, gives = _integers(node, stored)
        stored |= set(node.output) if gives else set()
        if node.op_type in CONVERSIONS:
            conversions += 1
        elif computes:
            integer += 1
        else:
            name = _plain(node.name)
            floats.append((node.op_type, labels.get(name, name)))
    return Kernels(integer, conversions, tuple(floats))


def _labels(model: onnx.ModelProto) -> dict[str, str]:
    """What to call layers, by every name that ONNX Runtime gives them: a blocked convolution goes by its
    output's, which may be that of the Relu or Clip that it takes in."""
    labels = {}
    for node in model.graph.node:
        if node.op_type in WEIGHTED:
            labels[node.name] = labels[node.output[0]] = label(node)
        elif node.op_type in CUTS and node.input[0] in labels:
            labels[node.output[0]] = labels[node.input[0]]
    return labels


def _integers(node: Any, stored: set[str]) -> tuple[bool, bool]:
    """Whether ``node`` computes in integers, and whether its result is stored as integers."""
    kind = node.op_type
    if kind == "QGemm":
        return True, len(node.input) >= QGEMM_WITH_GRID
    if kind == "MatMulIntegerToFloat":
        return True, False
    moved = kind in MOVING and node.input[0] in stored
    return (moved or kind.startswith("QLinear"),) * 2 if kind != "QuantizeLinear" else (True, True)


def _plain(name: str) -> str:
    """A node's name without what ONNX Runtime hangs on it."""
    return re.sub(r"(_token_\d+|_nchwc|/duplicated)+$", "", name)
