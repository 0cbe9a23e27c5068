"""Precision ``int8-weights``: weights are stored as int8 and become float again when the model is loaded.

``Cast → Mul`` of constants is folded by ONNX Runtime before the first run, so the network runs the very
kernels of the float file, at its speed and memory, from a file a quarter of the size.
(DequantizeLinear would say the same, but ONNX Runtime 1.32 keeps it and runs it for every picture:
LeNet-5 32 µs instead of 18.)
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from imago.quantize.grid import int_weights
from imago.quantize.layer_weights import output_axis
from imago.quantize.onnx_view import Array, View
from imago.quantize.plan import weighted_nodes

WORTHWHILE = 64  # weights; for fewer, two more nodes take more room in the file than is saved


def with_int8_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of ``model`` with the weights of every Conv, Gemm and MatMul stored as int8, per channel."""
    view = View(model)
    nodes, stored = [], {}
    for node in weighted_nodes(view):
        name = node.input[1]
        if view.constants[name].size < WORTHWHILE or name in stored:
            continue
        whole = int_weights(view.constants[name], per_channel=True, axis=output_axis(node))
        stored[name] = (whole.values, _beside(whole.scales, whole.values.ndim, whole.axis))
        nodes.append(helper.make_node("Cast", [f"{name}_w"], [f"{name}_f"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", [f"{name}_f", f"{name}_s"], [name]))
    graph = view.graph
    kept = [i for i in graph.initializer if i.name not in stored]
    for name, (values, scales) in stored.items():
        kept += [numpy_helper.from_array(values, f"{name}_w"), numpy_helper.from_array(scales, f"{name}_s")]
    nodes += list(graph.node)
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    onnx.checker.check_model(view.model, full_check=True)
    return view.model


def _beside(scales: Array, ndim: int, axis: int) -> Array:
    """Scales in the shape that multiplies weights of ``ndim`` axes along ``axis``."""
    shape = [1] * ndim
    shape[axis] = -1
    return np.ascontiguousarray(scales.reshape(shape))
