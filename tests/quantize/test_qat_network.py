"""Graphs in torch against ONNX Runtime: float and int8, forward and back to a file."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from networks import answers, network, pictures
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from imago.edge_runtime.errors import ModelError
from imago.quantize.qat.building import graph_module
from imago.quantize.qat.check import compare
from imago.quantize.qat.fake import QuantisedWeight
from imago.quantize.qat.network import GraphModule, write_back
from imago.quantize.qat.reading import separated

FAMILIES = ("lenet5", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2")
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("resnet18", "efficientnet_b0", "squeezenet")]
INT8_OPS = ("Conv", "Gemm", "Add", "Mul", "GlobalAveragePool", "MaxPool", "Concat")


class Reader(CalibrationDataReader):
    def __init__(self, name: str, images: np.ndarray) -> None:
        self.rows, self.name = iter(images), name

    def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
        row = next(self.rows, None)
        return None if row is None else {self.name: row[None]}


@cache
def quantised(name: str, per_channel: bool, ops: tuple[str, ...] | None = INT8_OPS) -> onnx.ModelProto:
    """int8 by ONNX Runtime's own quantiser, everything between pixels and Softmax; ops None: as it comes."""
    import tempfile

    model, images = network(name)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "q.onnx"
        quantize_static(
            onnx.ModelProto.FromString(model.SerializeToString()),
            target,
            Reader(model.graph.input[0].name, images[:16]),
            quant_format=QuantFormat.QDQ,
            per_channel=per_channel,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=None if ops is None else list(ops),
        )
        return onnx.load(target)


@torch.inference_mode()
def torch_answers(module: GraphModule, images: np.ndarray) -> np.ndarray:
    return module.eval().probabilities(torch.from_numpy(images).float()).numpy()


@pytest.mark.parametrize("name", [*FAMILIES, *SLOW])
def test_float_models_say_what_onnx_runtime_says(name: str) -> None:
    model, images = network(name)
    wanted = answers(model, images)
    assert wanted.max(1).mean() > 0.3  # the comparison means something
    module = graph_module(model)
    np.testing.assert_allclose(torch_answers(module, images), wanted, atol=1e-4)
    with torch.inference_mode():
        logits = module(torch.from_numpy(images).float())
    np.testing.assert_allclose(logits.softmax(1).numpy(), wanted, atol=1e-4)


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("name", [*FAMILIES, *SLOW])
def test_int8_models_say_what_onnx_runtime_says(name: str, per_channel: bool) -> None:
    """Node by node the two agree but for a rounding here and there; these random networks amplify it."""
    model, (source, images) = quantised(name, per_channel), network(name)
    module = graph_module(model, source)
    got = torch_answers(module, images)
    unfused = compare(answers(model, images, fused=False), got)
    assert unfused.agreement >= 0.9
    quantisation = compare(answers(source, images), got)
    assert unfused.distance < quantisation.distance / 3
    fresh = write_back(model, module)  # untrained: the same file
    for before, after in zip(model.graph.initializer, fresh.graph.initializer, strict=True):
        assert before.dims == after.dims
        assert before.data_type == after.data_type
        np.testing.assert_array_equal(numpy_helper.to_array(before), numpy_helper.to_array(after))


def test_logits_that_are_quantised_themselves() -> None:
    """``quantize_static`` as it comes puts quantisers around Softmax as well."""
    model, (source, images) = quantised("mobilenet_v3_small", False, None), network("mobilenet_v3_small")
    module = graph_module(model, source)
    with torch.inference_mode():
        logits = module(torch.from_numpy(images).float())
    got = torch_answers(module, images)
    np.testing.assert_allclose(logits.softmax(1).numpy(), got, atol=1 / 256)  # Softmax in steps of 1/256
    assert compare(answers(model, images, fused=False), got).agreement >= 0.9


@pytest.mark.parametrize("name", [*FAMILIES[1:], *SLOW])
def test_a_step_moves_everything_and_the_engine_follows(name: str) -> None:
    """After an optimiser's step the written file says what torch says, with the same kernels as before."""
    model, (source, images) = quantised(name, True), network(name)
    module = graph_module(model, source)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    logits = module(torch.from_numpy(images[:16]).float())
    torch.nn.functional.cross_entropy(logits, torch.arange(16) % 6).backward()
    asleep = [n for n, p in module.named_parameters() if p.requires_grad and p.grad is None]
    assert not asleep
    optimizer.step()
    fresh = write_back(model, module)
    changed = [
        not np.array_equal(numpy_helper.to_array(a), numpy_helper.to_array(b))
        for a, b in zip(model.graph.initializer, fresh.graph.initializer, strict=True)
        if a.data_type == onnx.TensorProto.INT8 and len(a.dims) > 1
    ]
    assert changed
    assert sum(changed) > 0.9 * len(changed)
    alignment = compare(answers(fresh, images, fused=False), torch_answers(module, images))
    assert alignment.agreement >= 0.9
    assert kernels(fresh) == kernels(model)


def kernels(model: onnx.ModelProto) -> Counter[str]:
    """What ONNX Runtime really runs."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(Path(folder) / "o.onnx")
        options.log_severity_level = 3
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return Counter(n.op_type for n in onnx.load(options.optimized_model_filepath).graph.node)


def chain(after: float) -> onnx.ModelProto:
    """conv → quantise → max pooling → flatten → quantise (with a scale of ``after``) → gemm → Softmax."""
    rng = np.random.default_rng(0)
    numbers: dict[str, np.ndarray] = {
        "s0": np.float32(1),
        "s1": np.float32(0.02),
        "s2": np.float32(after),
        "z": np.uint8(0),
        "w1": rng.normal(0, 0.01, (4, 1, 3, 3)).astype(np.float32),
        "w2": rng.normal(0, 0.3, (3, 36)).astype(np.float32),
    }
    nodes: list[onnx.NodeProto] = [helper.make_node("Cast", ["image"], ["x"], to=onnx.TensorProto.FLOAT)]
    for number, (name, source) in enumerate((("a", "x"), ("b", "c1"), ("c", "flat"))):
        scale = [f"s{number}", "z"]
        nodes.append(helper.make_node("QuantizeLinear", [source, *scale], [f"q{name}"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"q{name}", *scale], [name]))
        if name == "a":
            nodes.append(helper.make_node("Conv", ["a", "w1"], ["c1"], name="conv"))
        if name == "b":
            nodes.append(helper.make_node("MaxPool", ["b"], ["pool"], kernel_shape=[2, 2], strides=[2, 2]))
            nodes.append(helper.make_node("Flatten", ["pool"], ["flat"], axis=1))
    nodes.append(helper.make_node("Gemm", ["c", "w2"], ["y"], transB=1, name="gemm"))
    nodes.append(helper.make_node("Softmax", ["y"], ["p"], axis=1))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("p", onnx.TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in numbers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize(("after", "tied"), [(0.02, True), (0.021, False)])
def test_equal_scales_around_pooling_stay_equal(after: float, tied: bool) -> None:
    """Else the engine could not pool on integers. Pixels need no learned scale."""
    model, images = chain(after), pictures(1, 8, 32)
    module = graph_module(model)
    np.testing.assert_allclose(torch_answers(module, images), answers(model, images, fused=False), atol=1e-5)
    assert [s.log_ratio.requires_grad for s in module.scales] == [False] + [True] * (1 if tied else 2)
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=0.1)
    module(torch.from_numpy(images).float())[:, 0].sum().backward()
    optimizer.step()
    numbers = module.numbers()
    assert numbers["s0"] == 1
    assert numbers["s1"] != np.float32(0.02)
    assert (numbers["s1"] == numbers["s2"]) == tied
    fresh = write_back(model, module)
    np.testing.assert_allclose(torch_answers(module, images), answers(fresh, images, fused=False), atol=1e-5)


def mixed() -> onnx.ModelProto:
    """LeNet-5 whose second convolution runs in float."""
    model = onnx.ModelProto.FromString(quantised("lenet5", True).SerializeToString())
    source = {i.name: i for i in network("lenet5")[0].graph.initializer}
    convs = [n for n in model.graph.node if n.op_type == "Conv"]
    made = {name: n for n in model.graph.node for name in n.output}
    for position in (1, 2):
        plain = next(n for n in network("lenet5")[0].graph.node if n.name == convs[1].name).input[position]
        convs[1].input[position] = f"float.{plain}"
        model.graph.initializer.append(
            numpy_helper.from_array(numpy_helper.to_array(source[plain]), f"float.{plain}")
        )
    convs[1].input[0] = made[made[convs[1].input[0]].input[0]].input[0]
    used = {name for n in model.graph.node for name in n.input}
    for node in [n for n in model.graph.node if not used & set(n.output) and n is not model.graph.node[-1]]:
        model.graph.node.remove(node)
    onnx.checker.check_model(model)
    return model


def test_layers_that_stay_float_are_trained_as_floats() -> None:
    model, images = mixed(), network("lenet5")[1]
    module = graph_module(model, network("lenet5")[0])
    assert sum(isinstance(p, QuantisedWeight) for p in module.parts) == 4
    np.testing.assert_allclose(torch_answers(module, images), answers(model, images, fused=False), atol=1e-4)
    module(torch.from_numpy(images).float())[:, 0].sum().backward()
    torch.optim.Adam(module.parameters(), lr=1e-3).step()
    fresh = write_back(model, module)
    before, after = ({i.name: numpy_helper.to_array(i) for i in m.graph.initializer} for m in (model, fresh))
    moved = [n for n in before if n.startswith("float.") and not np.array_equal(before[n], after[n])]
    assert len(moved) == 2
    np.testing.assert_allclose(torch_answers(module, images), answers(fresh, images, fused=False), atol=1e-4)


def test_any_batch_gives_the_single_answers() -> None:
    model, images = network("shufflenet_v2")
    module = graph_module(model)
    alone = np.concatenate([torch_answers(module, images[k : k + 1]) for k in range(5)])
    np.testing.assert_allclose(torch_answers(module, images[:5]), alone, atol=1e-4)


def test_pixels_are_what_a_camera_gives() -> None:
    """Augmented pictures leave 0..255 and its whole numbers; the file's input cannot."""
    module = graph_module(network("lenet5")[0]).eval()
    pixels = torch.from_numpy(network("lenet5")[1][:2]).float()
    with torch.inference_mode():
        wild = torch.where(pixels > 128, 400.0, pixels + 0.3)
        assert torch.equal(module(wild), module(torch.where(pixels > 128, 255.0, pixels)))


def test_unknown_operators_are_named() -> None:
    model = onnx.ModelProto.FromString(network("lenet5")[0].SerializeToString())
    next(n for n in model.graph.node if n.op_type == "Relu").op_type = "Softsign"
    with pytest.raises(ModelError, match=r"Softsign.*node_relu"):
        graph_module(model)


def test_a_model_without_softmax_is_refused() -> None:
    model = onnx.ModelProto.FromString(network("lenet5")[0].SerializeToString())
    model.graph.node[-1].CopyFrom(
        helper.make_node("Relu", model.graph.node[-1].input, model.graph.node[-1].output, name="last")
    )
    with pytest.raises(ModelError, match="Softmax"):
        graph_module(model)


def two_readings() -> onnx.ModelProto:
    """Stored integers read on two scales, as an integer HardSwish does, and pixels that are never floats."""
    rng = np.random.default_rng(0)
    numbers: dict[str, np.ndarray] = {
        "one": np.float32(1),
        "z128": np.uint8(128),
        "w": rng.integers(-127, 128, (8, 4, 3, 3)).astype(np.int8),
        "ws": rng.uniform(1e-4, 3e-4, 8).astype(np.float32),
        "wz": np.zeros(8, np.int8),
        "b": rng.integers(-3000, 3000, 8).astype(np.int32),
        "pads": np.array([0, 0, 0, 0, 0, 1, 0, 0], np.int64),
        "s": np.float32(3 / 60),
        "z60": np.uint8(60),
        "g": np.float32(3 / 60 / 6),
        "z0": np.uint8(0),
        "top": np.uint8(120),
        "w2": rng.normal(0, 0.6, (3, 8)).astype(np.float32),
        "sv": np.full(8, 0.02, np.float32),
        "zv": np.zeros(8, np.uint8),
        "s2": np.float32(0.02),
    }
    numbers["bs"] = numbers["ws"]
    nodes = [
        helper.make_node("Pad", ["image", "pads"], ["image4"]),
        helper.make_node("DequantizeLinear", ["image4", "one", "z128"], ["x"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "bs"], ["bd"], axis=0),
        helper.make_node("Conv", ["x", "wd", "bd"], ["c"], name="conv", kernel_shape=[3, 3]),
        helper.make_node("QuantizeLinear", ["c", "s", "z60"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z60"], ["d"]),
        helper.make_node("Clip", ["q", "", "top"], ["qc"], name="cut"),
        helper.make_node("DequantizeLinear", ["qc", "g", "z0"], ["gate"]),
        helper.make_node("Mul", ["d", "gate"], ["h"], name="swish"),
        helper.make_node("GlobalAveragePool", ["h"], ["p"]),
        helper.make_node("QuantizeLinear", ["p", "s2", "z0"], ["pq"]),
        helper.make_node("DequantizeLinear", ["pq", "sv", "zv"], ["pd"], axis=1),
        helper.make_node("Flatten", ["pd"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "w2"], ["y"], transB=1, name="gemm"),
        helper.make_node("Softmax", ["y"], ["out"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, [1, 3, 12, 12])],
        [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in numbers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def test_stored_integers_may_be_read_on_other_scales() -> None:
    model, images = two_readings(), pictures(3, 12, 32)
    module = graph_module(model)
    wanted = answers(model, images, fused=False)
    np.testing.assert_allclose(torch_answers(module, images), wanted, atol=1e-5)
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=0.02)
    module(torch.from_numpy(images).float())[:, 0].sum().backward()
    assert all(p.grad is not None for p in module.parameters() if p.requires_grad)
    optimizer.step()
    fresh = write_back(model, module)
    np.testing.assert_allclose(torch_answers(module, images), answers(fresh, images, fused=False), atol=1e-5)
    after = {i.name: numpy_helper.to_array(i) for i in fresh.graph.initializer}
    assert after["one"] == 1  # pixels
    assert after["s"] != np.float32(3 / 60)
    assert after["sv"].shape == (8,)
    assert (after["sv"] == after["s2"]).all()
    np.testing.assert_array_equal(after["bs"], after["ws"])  # input scale 1 times weight scale


def test_gradients_through_stored_integers_are_those_of_fake_quantisation() -> None:
    from imago.quantize.qat.fake import Dequantiser, FakeQuantiser, Quantiser, Scale

    grads = []
    for joined in (True, False):
        x = (torch.arange(-40, 40) * 0.11).requires_grad_()
        scale = Scale(np.float32(0.1), trainable=True)
        if joined:
            y = FakeQuantiser(scale, -20, 30)(x)
        else:
            y = Dequantiser(scale, 20)(Quantiser(scale, -20, 30, 20)(x))
        (y * torch.linspace(1, 2, 80)).sum().backward()  # type: ignore[no-untyped-call]
        assert x.grad is not None and scale.log_ratio.grad is not None
        grads.append((y.detach(), x.grad, scale.log_ratio.grad))
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


def test_scales_that_were_equal_by_chance_part_ways() -> None:
    """Writers store equal numbers once; scales that are trained apart need a place each, pairs only one."""
    model = two_readings()
    nodes = {n.output[0]: n for n in model.graph.node}
    nodes["bd"].input[1] = "ws"  # the bias reads the weights' scale
    nodes["pq"].input[1], nodes["pd"].input[1] = "s", "s"
    nodes["pd"].input[2] = "z0"
    fresh = separated(model)
    images = pictures(3, 12, 4)
    np.testing.assert_array_equal(answers(model, images), answers(fresh, images))
    after = {n.output[0]: n.input[1] for n in fresh.graph.node if n.op_type.endswith("Linear")}
    assert after["bd"] != after["wd"]
    assert after["q"] == after["d"]
    assert after["pq"] == after["pd"] != after["q"]
    same = separated(quantised("lenet5", True))
    assert same.SerializeToString() == quantised("lenet5", True).SerializeToString()
