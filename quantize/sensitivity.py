"""Which layers does int8 hurt? Each is measured alone, and in company."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from imago.edge_runtime.engines.ort import OrtEngine
from imago.edge_runtime.types import F32, U8
from imago.quantize.layer_weights import output_axis
from imago.quantize.onnx_view import Node, View, label
from imago.quantize.plan import weighted_nodes
from imago.quantize.ptq import FLOOR, Candidate, divergence, probabilities
from imago.quantize.qdq import quantised


@dataclass(frozen=True, slots=True)
class LayerSensitivity:
    """One layer (Conv, Gemm or MatMul) with the nodes around it that carry no weights.

    label: for people. island: names of its nodes. alone: divergence in nats where only they are int8.
    sqnr_db: power of the logits over that of their error, in the same case. gain: how much the divergence
    falls where only they are float (may be negative: errors also cancel). weights, macs: numbers of weights
    and of multiplications per picture.
    """

    label: str
    island: frozenset[str]
    operator: str
    weights: int
    macs: int
    alone: float
    sqnr_db: float
    gain: float

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "layer": self.label,
            "operator": self.operator,
            "weights": self.weights,
            "macs": self.macs,
            "divergence_alone": self.alone,
            "sqnr_db": self.sqnr_db,
            "gain_when_float": self.gain,
        }


def sensitivities(
    candidate: Candidate, held_out: U8, advance: Callable[[], None] = lambda: None
) -> tuple[LayerSensitivity, ...]:
    """Every layer of ``candidate``, in the network's order; ``held_out``: uint8 input tensors, one per row.

    advance: called twice per layer.
    """
    view = candidate.network.view
    wanted = _answers(view.model, held_out)
    everything = frozenset(node.name for node in view.graph.node)
    shapes = _shapes(view)
    whole = divergence(wanted, _answers(candidate.model, held_out))
    found = []
    for node in weighted_nodes(view):
        names = island(view, node)
        alone = _answers(remade(candidate, everything - names), held_out)
        advance()
        without = _answers(remade(candidate, candidate.floats | names), held_out)
        advance()
        found.append(
            LayerSensitivity(
                label=label(node),
                island=names,
                operator=node.op_type,
                weights=int(view.constants[node.input[1]].size),
                macs=_macs(view, node, shapes),
                alone=divergence(wanted, alone),
                sqnr_db=sqnr_db(wanted, alone),
                gain=whole - divergence(wanted, without),
            )
        )
    return tuple(found)


def remade(candidate: Candidate, floats: frozenset[str]) -> onnx.ModelProto:
    """``candidate`` with other nodes in float."""
    return quantised(candidate.network, candidate.ranges, candidate.weights, floats)


def island(view: View, layer: Node) -> frozenset[str]:
    """Names of ``layer`` and of all nodes between it and the next weighted ones, on either side.

    A layer in float gains little while what it reads was rounded on the way to it.
    """
    weighted = {node.output[0] for node in weighted_nodes(view)}
    names, todo = {layer.name}, [(name, True) for name in view.inputs(layer)]
    todo += [(name, False) for name in layer.output]
    while todo:
        tensor, upward = todo.pop()
        near = [view.maker[tensor]] if upward and tensor in view.maker else []
        for node in near if upward else view.users[tensor]:
            if node.output[0] in weighted or node.op_type == "Cast" or node.name in names:
                continue
            names.add(node.name)
            todo += [(name, upward) for name in (view.inputs(node) if upward else node.output)]
    return frozenset(names)


def sqnr_db(wanted: F32, got: F32) -> float:
    """Signal-to-quantisation-noise ratio of the logits (log probabilities less their mean), in dB."""
    signal, other = (_centred(p) for p in (wanted, got))
    noise = float(((signal - other) ** 2).sum())
    return float(10 * np.log10((signal**2).sum() / max(noise, 1e-12)))


def _centred(probabilities: F32) -> np.ndarray[Any, np.dtype[np.float64]]:
    logits = np.log(probabilities.astype(np.float64) + FLOOR)
    return np.asarray(logits - logits.mean(1, keepdims=True))


def _answers(model: onnx.ModelProto, tensors: U8) -> F32:
    return probabilities(OrtEngine(model.SerializeToString()), tensors)


def _shapes(view: View) -> dict[str, Sequence[int]]:
    inferred = onnx.shape_inference.infer_shapes(view.model).graph
    return {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*inferred.value_info, *inferred.output)
    }


def _macs(view: View, node: Node, shapes: dict[str, Sequence[int]]) -> int:
    """Every weight is used once per output position."""
    weight = view.constants[node.input[1]]
    positions = np.prod(shapes[node.output[0]]) // weight.shape[output_axis(node)]
    return int(weight.size * positions)
