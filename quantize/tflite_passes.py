"""What a float TFLite network needs before it can run in integers throughout, and what it needs afterwards.

LiteRT's fast kernels (XNNPACK) have no int8 HARD_SWISH: left as it is, MobileNetV3-Small falls into twenty
pieces and runs 2.5 times slower than in float (measured, x86-64). ``x·relu6(x+3)/6`` consists of operators
that they do have, and the sixth is absorbed by the weights that follow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from imago.export.tflite_graph import WEIGHTED, Network

# A scalar factor passes through these unchanged (zero padding, means and rearrangements are linear).
LINEAR = ("PAD", "MEAN", "RESHAPE", "TRANSPOSE")
PIXEL_SCALE, PIXEL_ZERO = 1.0, -128  # int8 as the network sees it: pixel = 1 · (stored + 128)


def float_core(network: Network) -> None:
    """Take the conversion from uint8 away from the front: the input is then float pixels 0..255."""
    for cast in network.users(network.input):
        if network.kind(cast) == "CAST":
            network.set_input(cast.outputs[0])
            network.remove(cast)


def decompose_hard_swish(network: Network) -> None:
    """HARD_SWISH(x) becomes ``MUL(MUL(x, ADD(x, 3) with RELU6), 1/6)``."""
    for swish in network.of("HARD_SWISH"):
        x, result = swish.inputs[0], swish.outputs[0]
        shape = network.shape(x)
        number = len(network.graph.tensors)
        gate = network.add_tensor(f"gate/{number}", shape, "FLOAT32")
        product = network.add_tensor(f"product/{number}", shape, "FLOAT32")
        three = network.add_tensor(f"three/{number}", (), "FLOAT32", np.array(3.0))
        sixth = network.add_tensor(f"sixth/{number}", (), "FLOAT32", np.array(1 / 6))
        clipped = schema.AddOptionsT()
        clipped.fusedActivationFunction = schema.ActivationFunctionType.RELU6
        network.insert_before(
            swish,
            network.operator("ADD", (x, three), (gate,), clipped),
            network.operator("MUL", (x, gate), (product,), schema.MulOptionsT()),
            network.operator("MUL", (product, sixth), (result,), schema.MulOptionsT()),
        )
        network.remove(swish)


def absorb_scalars(network: Network) -> None:
    """Move multiplications by one positive number into the weights that follow, where all is linear."""
    for multiply in network.of("MUL"):
        factor = network.constant(multiply.inputs[1])
        if factor is None or factor.size != 1 or float(factor.reshape(())) <= 0 or _activated(multiply):
            continue
        found = _absorbers(network, multiply.outputs[0])
        if found is None:
            continue
        for operator in found:
            weight = network.constant(operator.inputs[1])
            if weight is not None:
                network.replace_constant(operator, 1, weight * np.float32(factor.reshape(())))
        network.rewire(multiply.outputs[0], multiply.inputs[0])
        network.remove(multiply)


def _absorbers(network: Network, tensor: int) -> list[Any] | None:
    """Operators whose weights take a factor of ``tensor`` up, once per path; None where a path has none."""
    if tensor in network.graph.outputs:
        return None
    found: list[Any] = []
    for user in network.users(tensor):
        kind = network.kind(user)
        if kind in WEIGHTED and user.inputs[0] == tensor and network.constant(user.inputs[1]) is not None:
            found.append(user)
            continue
        product = kind == "MUL" and not _activated(user) and user.inputs[0] != user.inputs[1]
        deeper = _absorbers(network, user.outputs[0]) if kind in LINEAR or product else None
        if deeper is None:
            return None
        found += deeper
    return found


def _activated(operator: Any) -> bool:
    return bool(getattr(operator.builtinOptions, "fusedActivationFunction", 0))


def uint8_front(network: Network) -> None:
    """Let a network with int8 pixels at its front take uint8: one operator that flips the sign bit."""
    inner = network.input
    outer = network.add_tensor("pixels", network.shape(inner), "UINT8")
    network.set_scale(outer, PIXEL_SCALE, 0)
    first = network.graph.operators[0]
    network.insert_before(first, network.operator("QUANTIZE", (outer,), (inner,), schema.QuantizeOptionsT()))
    network.set_input(outer)


def float_operators(network: Network) -> dict[str, int]:
    """Kinds of operators with float results, and how many of each; conversions between the two apart.

    ``(int8 weights)``: the products are integer, the input is quantised at run time.
    """
    found: dict[str, int] = {}
    for operator in network.graph.operators:
        kind = network.kind(operator)
        if kind in ("QUANTIZE", "DEQUANTIZE", "CAST"):
            continue
        if all(network.type(int(tensor)) != "FLOAT32" for tensor in operator.outputs):
            continue
        if kind in WEIGHTED and network.type(int(operator.inputs[1])) == "INT8":
            kind += " (int8 weights)"
        found[kind] = found.get(kind, 0) + 1
    return found
