"""Passes over the ONNX graph after export: smaller, faster, and free of the exporter's traces."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from imago.edge_runtime.errors import ModelError

SPATIAL_AXES = ([2, 3], [-2, -1], [-1, -2], [3, 2])


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants (onnxsim, or onnxslim where onnxsim has no wheel), then imago's own passes."""
    model = _folded(model)
    _pool_instead_of_mean(model)
    _fold_gain_into_first_conv(model)
    _strip(model)
    _drop_unused_initializers(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        import onnxsim
    except ImportError:
        import onnxslim

        slim: onnx.ModelProto = onnxslim.slim(model)
        return slim
    simplified: onnx.ModelProto
    simplified, same = onnxsim.simplify(model)
    if not same:
        raise ModelError("onnxsim changed what the network computes; install onnxslim instead of onnxsim")
    return simplified


def _strip(model: onnx.ModelProto) -> None:
    """Remove stack traces and scopes: they carry paths of the machine that exported, and bytes."""
    graph = model.graph
    for thing in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer, graph):
        del thing.metadata_props[:]
        thing.doc_string = ""
    del graph.value_info[:]
    del model.metadata_props[:]
    model.doc_string = ""
    model.producer_name, model.producer_version = "imago", ""
    graph.name = "imago"


def _pool_instead_of_mean(model: onnx.ModelProto) -> None:
    """ReduceMean over height and width is GlobalAveragePool, which engines keep in their blocked layout
    and can quantise."""
    constants = {i.name: i for i in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "ReduceMean" or len(node.input) != 2 or node.input[1] not in constants:
            continue
        axes = numpy_helper.to_array(constants[node.input[1]]).tolist()
        keepdims = next((a.i for a in node.attribute if a.name == "keepdims"), 1)
        if axes in SPATIAL_AXES and keepdims == 1:
            node.op_type = "GlobalAveragePool"
            del node.input[1:]
            del node.attribute[:]


def _fold_gain_into_first_conv(model: onnx.ModelProto) -> None:
    """``Conv(x·g + o)`` becomes ``Conv'(x + o/g)`` with ``W' = W·g``: one pass over the picture less.

    Where the convolution has no padding the offset moves into its bias too, and both passes go.
    """
    graph = model.graph
    chain = _input_chain(graph)
    if chain is None:
        return
    mul, add, conv = chain
    constants = {i.name: i for i in graph.initializer}
    gain = numpy_helper.to_array(constants[mul.input[1]]).reshape(-1).astype(np.float64)
    offset = numpy_helper.to_array(constants[add.input[1]]).reshape(-1).astype(np.float64)
    weight = numpy_helper.to_array(constants[conv.input[1]]).astype(np.float64)
    scaled = weight * np.broadcast_to(gain, weight.shape[1])[None, :, None, None]
    _replace(graph, constants[conv.input[1]], scaled)
    if _unpadded(conv) and len(conv.input) == 3:
        bias = numpy_helper.to_array(constants[conv.input[2]]).astype(np.float64)
        per_channel = np.broadcast_to(offset, weight.shape[1])
        _replace(graph, constants[conv.input[2]], bias + (weight.sum((2, 3)) * per_channel).sum(1))
        conv.input[0] = mul.input[0]
        graph.node.remove(add)
    else:
        shape = numpy_helper.to_array(constants[add.input[1]]).shape
        _replace(graph, constants[add.input[1]], (offset / gain).reshape(shape))
        add.input[0] = mul.input[0]
    graph.node.remove(mul)


def _input_chain(graph: onnx.GraphProto) -> tuple[Any, Any, Any] | None:
    """``Mul → Add → Conv`` right after the input's Cast, each used once, with constants; else None."""
    users: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    constants = {i.name for i in graph.initializer}
    found, name = [], graph.input[0].name
    for wanted in ("Cast", "Mul", "Add", "Conv"):
        following = users.get(name, [])
        if len(following) != 1 or following[0].op_type != wanted:
            return None
        node = following[0]
        if wanted != "Cast" and (node.input[0] != name or node.input[1] not in constants):
            return None
        if wanted != "Cast" and len(users[node.input[1]]) != 1:
            return None
        found.append(node)
        name = node.output[0]
    return found[1], found[2], found[3]


def _unpadded(conv: Any) -> bool:
    attributes = {a.name: a for a in conv.attribute}
    pads = list(attributes["pads"].ints) if "pads" in attributes else [0]
    automatic = attributes["auto_pad"].s if "auto_pad" in attributes else b"NOTSET"
    return not any(pads) and automatic in (b"NOTSET", b"VALID", b"")


def _replace(graph: onnx.GraphProto, old: onnx.TensorProto, values: Any) -> None:
    old.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), old.name))


def _drop_unused_initializers(model: onnx.ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input}
    kept = [i for i in model.graph.initializer if i.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
