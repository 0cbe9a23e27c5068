"""Graph passes against ONNX Runtime: the same numbers, fewer nodes, either simplifier."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from imago.export.graph import simplify


def network(pads: list[int], axes: list[int], keepdims: int = 1) -> onnx.ModelProto:
    """uint8 → float → ·gain + offset → convolution → mean over space."""
    rng = np.random.default_rng(0)
    constants = {
        "gain": rng.uniform(0.01, 0.02, (1, 3, 1, 1)),
        "offset": rng.normal(0, 1, (1, 3, 1, 1)),
        "w": rng.normal(0, 1, (4, 3, 3, 3)),
        "b": rng.normal(0, 1, 4),
    }
    initializers = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in constants.items()]
    initializers.append(numpy_helper.from_array(np.array(axes), "axes"))
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "gain"], ["g"]),
        helper.make_node("Add", ["g", "offset"], ["o"]),
        helper.make_node("Conv", ["o", "w", "b"], ["c"], pads=pads),
        helper.make_node("ReduceMean", ["c", "axes"], ["y"], keepdims=keepdims),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 3, 9, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list("ncij") if keepdims else list("nc"))],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def answer(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    picture = np.random.default_rng(1).integers(0, 256, (1, 3, 9, 8), dtype=np.uint8)
    return np.asarray(session.run(None, {"x": picture})[0])


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1]])
@pytest.mark.parametrize("simplifier", ["onnxsim", "onnxslim"])
def test_same_numbers_fewer_nodes(pads: list[int], simplifier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if simplifier == "onnxslim":
        monkeypatch.setitem(sys.modules, "onnxsim", None)  # as on a machine without a wheel for it
    model = network(pads, [2, 3])
    wanted = answer(model)
    slim = simplify(model)
    np.testing.assert_allclose(answer(slim), wanted, rtol=1e-4, atol=1e-4)
    kinds = [n.op_type for n in slim.graph.node]
    offset = ["Add"] if any(pads) else []
    assert kinds == ["Cast", *offset, "Conv", "GlobalAveragePool"]


@pytest.mark.parametrize(("axes", "keepdims"), [([2], 1), ([1], 1), ([2, 3], 0)])
def test_other_means_are_left_alone(axes: list[int], keepdims: int) -> None:
    model = network([0, 0, 0, 0], axes, keepdims)
    wanted = answer(model)
    slim = simplify(model)
    assert "ReduceMean" in [n.op_type for n in slim.graph.node]
    np.testing.assert_allclose(answer(slim), wanted, rtol=1e-4, atol=1e-4)


def test_a_shared_gain_is_not_folded() -> None:
    """The gain is used twice: folding it into one convolution would break the other branch."""
    model = network([0, 0, 0, 0], [2, 3])
    model.graph.node.insert(2, helper.make_node("ReduceSum", ["g"], ["s"], keepdims=0))
    model.graph.node[-1].output[0] = "m"
    model.graph.node.append(helper.make_node("Add", ["m", "s"], ["y"]))
    wanted = answer(model)
    np.testing.assert_allclose(answer(simplify(model)), wanted, rtol=1e-4, atol=1e-3)
