"""Small ONNX models for tests, built node by node: imago's form and foreign ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from imago.edge_runtime.spec import InputSpec, ModelSpec, SelfTest

LABELS = ("ant", "bee", "wasp")


def spec_of(labels: Sequence[str] = LABELS, size: int = 32, channels: int = 1, **more: Any) -> ModelSpec:
    """A contract that fits the models of this file."""
    color = "gray" if channels == 1 else "rgb"
    inputs = InputSpec(width=size, height=size, channels=channels, color=color)
    return ModelSpec(labels=tuple(labels), input=inputs, name=more.pop("name", "tiny"), **more)


def lenet(
    path: Path, spec: ModelSpec | None = None, *, seed: int = 0, selftest: bool = True, metadata: bool = True
) -> ModelSpec:
    """Write a LeNet-sized network (random weights) for ``spec`` to ``path``; returns the contract inside."""
    spec = spec or spec_of()
    model = _lenet_graph(spec, seed)
    if selftest:
        spec = _with_selftest(spec, model)
    if metadata:
        add_contract(model, spec.to_json())
    onnx.save(model, path)
    return spec


def add_contract(model: Any, text: str, schema: str = "1") -> None:
    """Put ``text`` where imago keeps the contract."""
    helper.set_model_props(model, {"imago.contract": text, "imago.schema": schema})


def brightness(path: Path, *, layout: str = "nchw", dtype: str = "float32", logits: bool = True) -> None:
    """A foreign two-class model without contract: logits ``(mean/64 - 2, 0)``; bright is class 0.

    Input ``(1, 3, 8, 8)`` or ``(1, 8, 8, 3)``.
    """
    shape = [1, 3, 8, 8] if layout == "nchw" else [1, 8, 8, 3]
    kind = TensorProto.FLOAT if dtype == "float32" else TensorProto.UINT8
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["f"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "w", "b"], ["y" if logits else "z"]),
    ]
    if not logits:
        nodes.append(helper.make_node("Softmax", ["z"], ["y"], axis=1))
    weights = np.zeros((192, 2), np.float32)
    weights[:, 0] = 1 / 192 / 64
    initial = [
        numpy_helper.from_array(weights, "w"),
        numpy_helper.from_array(np.array([-2, 0], np.float32), "b"),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        initial,
    )
    onnx.save(_model(graph), path)


def _model(graph: Any) -> Any:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def _lenet_graph(spec: ModelSpec, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    channels, classes = spec.input.channels, len(spec.labels)
    side = ((spec.input.height - 4) // 2 - 4) // 2
    shapes = {
        "c1": (6, channels, 5, 5),
        "c2": (16, 6, 5, 5),
        "f1": (16 * side * side, 120),
        "f2": (120, 84),
        "f3": (84, classes),
    }
    initial = [
        numpy_helper.from_array((rng.standard_normal(s) * (3 / np.prod(s[1:])) ** 0.5).astype(np.float32), n)
        for n, s in shapes.items()
    ]
    initial.append(numpy_helper.from_array(np.array(1 / 255, np.float32), "scale"))
    steps: list[tuple[str, list[str], dict[str, Any]]] = [
        ("Cast", [], {"to": TensorProto.FLOAT}),
        ("Mul", ["scale"], {}),
        ("Conv", ["c1"], {}),
        ("Tanh", [], {}),
        ("AveragePool", [], {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Conv", ["c2"], {}),
        ("Tanh", [], {}),
        ("AveragePool", [], {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Flatten", [], {"axis": 1}),
        ("MatMul", ["f1"], {}),
        ("Tanh", [], {}),
        ("MatMul", ["f2"], {}),
        ("Tanh", [], {}),
        ("MatMul", ["f3"], {}),
        ("Softmax", [], {"axis": 1}),
    ]
    nodes, value = [], "input"
    for number, (kind, weights, attributes) in enumerate(steps):
        name = "probabilities" if number == len(steps) - 1 else f"v{number}"
        nodes.append(helper.make_node(kind, [value, *weights], [name], **attributes))
        value = name
    graph = helper.make_graph(
        nodes,
        "lenet",
        [helper.make_tensor_value_info("input", TensorProto.UINT8, list(spec.input.shape))],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, classes])],
        initial,
    )
    return _model(graph)


def _with_selftest(spec: ModelSpec, model: Any) -> ModelSpec:
    """The contract with a stored picture of the model's size and what the model says about it."""
    import dataclasses

    import onnxruntime

    rng = np.random.default_rng(7)
    image = rng.integers(0, 256, (spec.input.height, spec.input.width, spec.input.channels), np.uint8)
    tensor = np.ascontiguousarray(image.transpose(2, 0, 1)[None])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    probabilities = session.run(None, {"input": tensor})[0][0]
    stored = image[:, :, 0] if spec.input.channels == 1 else image
    return dataclasses.replace(spec, selftest=SelfTest(image=stored, probabilities=probabilities))
