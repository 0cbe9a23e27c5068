"""Passes over a TFLite network after conversion: smaller, faster, and free of the converter's traces."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from imago.export.tflite_graph import Network

RELUS = (schema.ActivationFunctionType.RELU, schema.ActivationFunctionType.RELU6)


def simplify(network: Network) -> None:
    """All passes of this file, in order."""
    fold_input_gain(network)
    pad_with_zeros(network)
    strip(network)


def fold_input_gain(network: Network) -> None:
    """``Conv(pad(x·g + o))`` becomes ``Conv'(pad(x + o/g))`` with ``W' = W·g``: a pass over the picture less.

    Where the converter has folded both already (convolutions without padding), nothing is left to do.
    """
    chain = _input_chain(network)
    if chain is None:
        return
    multiply, add, convolution = chain
    gain, offset = network.constant(multiply.inputs[1]), network.constant(add.inputs[1])
    weight = network.constant(convolution.inputs[1])
    if gain is None or offset is None or weight is None:
        return
    channels = weight.shape[3]  # (out, h, w, in)
    wide = np.broadcast_to(gain.reshape(-1).astype(np.float64), channels)
    network.replace_constant(convolution, 1, (weight * wide).astype(np.float32))
    network.replace_constant(add, 1, (offset / gain.astype(np.float64)).astype(np.float32))
    network.rewire(multiply.outputs[0], multiply.inputs[0])
    network.remove(multiply)


def _input_chain(network: Network) -> tuple[Any, Any, Any] | None:
    """``MUL → ADD → (PAD) → CONV_2D`` from the input on (after its CAST), each used once, or None."""
    found, tensor = [], network.input
    for kind in ("CAST", "MUL", "ADD", "PAD", "CONV_2D"):
        users = network.users(tensor)
        if len(users) != 1:
            return None
        if network.kind(users[0]) != kind:
            if kind in ("CAST", "PAD"):
                continue
            return None
        if kind in ("MUL", "ADD", "CONV_2D"):
            if users[0].inputs[0] != tensor:
                return None
            found.append(users[0])
        tensor = users[0].outputs[0]
    return found[0], found[1], found[2]


def pad_with_zeros(network: Network) -> None:
    """Padding with -inf before a maximum over values that are never negative may as well be zeros: a range
    that holds -inf cannot be quantised."""
    for pad in network.of("PADV2"):
        value = network.constant(pad.inputs[2])
        maxima = all(network.kind(user) == "MAX_POOL_2D" for user in network.users(pad.outputs[0]))
        if (
            value is None
            or not maxima
            or not np.isneginf(value).all()
            or not _never_negative(network, pad.inputs[0])
        ):
            continue
        zeros = network.operator("PAD", pad.inputs[:2], pad.outputs, schema.PadOptionsT())
        network.insert_before(pad, zeros)
        network.remove(pad)


def _never_negative(network: Network, tensor: int) -> bool:
    """Whether ``tensor`` comes from ReLUs, perhaps by way of what keeps signs."""
    makers = [operator for operator in network.graph.operators if tensor in operator.outputs]
    if not makers:
        return False
    maker = makers[0]
    if getattr(maker.builtinOptions, "fusedActivationFunction", 0) in RELUS or network.kind(maker) == "RELU":
        return True
    kept = ("MAX_POOL_2D", "AVERAGE_POOL_2D", "CONCATENATION", "PAD", "RESHAPE")
    if network.kind(maker) not in kept:
        return False
    computed = [int(t) for t in maker.inputs if network.type(int(t)) == "FLOAT32"]
    return all(_never_negative(network, tensor) for tensor in computed)


def strip(network: Network) -> None:
    """Remove names and notes of the converter: they say nothing to a user, and cost bytes."""
    model = network.model
    model.description = b"imago"
    model.metadata, model.metadataBuffer = None, None
    network.graph.name = b"main"
    for number, tensor in enumerate(network.graph.tensors):
        tensor.name = str(number).encode()
        if tensor.quantization is not None and tensor.quantization.scale is None:
            tensor.quantization = None
    network.graph.tensors[network.input].name = b"image"
    network.graph.tensors[network.output].name = b"probabilities"
    for signature in model.signatureDefs or []:
        signature.inputs[0].name, signature.outputs[0].name = b"image", b"probabilities"
