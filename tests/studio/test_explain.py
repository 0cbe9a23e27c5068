"""What a model looks at, and what its layers see, against networks of which it is known."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.types import Frame
from imago.studio.explain import feature_maps, occlusion
from imago.studio.fairness import remarks
from imago.studio.weights import parameter_count

from onnx_models import add_contract, lenet, spec_of


def corner_model(path: Path, size: int = 32) -> None:
    """Two classes; the first is what is bright in the upper left quarter."""
    weights = np.zeros((size * size, 2), np.float32)
    quarter = np.zeros((size, size), bool)
    quarter[: size // 2, : size // 2] = True
    weights[quarter.ravel(), 0] = 8 / 255 / quarter.sum()
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["f"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "w", "b"], ["z"]),
        helper.make_node("Softmax", ["z"], ["y"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "corner",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 1, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.array([-3, 0], np.float32), "b"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    add_contract(model, spec_of(("corner", "other"), size).to_json())
    onnx.save(model, path)


def test_occlusion_finds_where_the_network_looks(tmp_path: Path) -> None:
    corner_model(tmp_path / "m.onnx")
    image = np.zeros((32, 32), np.uint8)
    image[:16, :16] = 255
    image[20:28, 20:28] = 255  # as bright, and of no interest
    with Classifier(tmp_path / "m.onnx") as classifier:
        seen = occlusion(classifier, Frame(image, "gray"))
    assert seen.label == "corner"
    inside = seen.heat[2:14, 2:14].mean()
    outside = np.concatenate([seen.heat[20:].ravel(), seen.heat[:, 20:].ravel()])
    assert inside > 0.005
    assert np.abs(outside).max() < inside / 100
    shown = np.asarray(Image.open(io.BytesIO(seen.overlay())))
    assert shown.shape == (320, 320, 3)


def test_feature_maps_are_those_of_the_network(tmp_path: Path) -> None:
    """LeNet-5's layers in the lesson's numbers, and the first one against a convolution by hand."""
    lenet(tmp_path / "m.onnx")
    tensor = np.random.default_rng(0).integers(0, 256, (1, 1, 32, 32)).astype(np.uint8)
    layers = feature_maps(tmp_path / "m.onnx", tensor)
    assert [layer.shape for layer in layers if layer.kind == "Conv"][:2] == ["6@28×28", "16@10×10"]
    graph = onnx.load(str(tmp_path / "m.onnx")).graph
    tensors = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    node = next(node for node in graph.node if node.op_type == "Conv")
    kernels = tensors[node.input[1]]
    bias = tensors[node.input[2]] if len(node.input) > 2 else np.zeros(6, np.float32)
    first = next(layer for layer in layers if layer.kind == "Conv").maps
    patch = tensor[0, 0, 3:8, 10:15].astype(np.float32) / 255  # the graph scales first
    scale = first[:, 3, 10] - bias
    assert np.allclose(scale, (kernels[:, 0] * patch).sum((1, 2)), rtol=1e-4, atol=1e-3)
    sheet = np.asarray(Image.open(io.BytesIO(layers[0].sheet())))
    assert sheet.shape[1] == 6 * (28 * 3 + 4)


def test_feature_maps_need_an_onnx_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ONNX"):
        feature_maps(tmp_path / "m.tflite", np.zeros((1, 1, 32, 32), np.uint8))


def row(label: str, hits: int, n: int) -> dict[str, object]:
    return {"label": label, "recall": hits / n if n else None, "n": n}


def test_unequal_classes_are_named() -> None:
    apart = remarks([row("bee", 10, 100), row("ant", 95, 100)], {"bee": 30, "ant": 300})
    assert [tone for tone, _ in apart] == ["warn", "warn"]
    assert "bee is recognised in 10 %" in apart[0][1]
    assert "300 pictures of ant and only 30 of bee" in apart[1][1]
    alike = remarks([row("bee", 90, 100), row("ant", 95, 100)], {"bee": 100, "ant": 100})
    assert [tone for tone, _ in alike] == ["good"]
    few = remarks([row("bee", 1, 2), row("ant", 2, 2)], {})
    assert [tone for tone, _ in few] == ["warn"]
    assert remarks([row("bee", 0, 0)], {}) == []


def test_parameters_are_counted_from_the_head_of_the_file(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from imago.train.models.registry import build_model

    built = build_model("lenet5", 10, channels=1, size=(32, 32))
    save_file(
        {k: v.contiguous() for k, v in built.module.state_dict().items()}, tmp_path / "weights.safetensors"
    )
    assert parameter_count(tmp_path) == sum(p.numel() for p in built.module.parameters()) == 61_706
    (tmp_path / "weights.safetensors").write_bytes(b"\xff" * 20)
    assert parameter_count(tmp_path) == 0
