"""The int8 graphs that imago writes: what really runs in integers, the same every time, near the float."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from networks import answers, network
from onnx import numpy_helper

from imago.quantize.kernels import kernels
from imago.quantize.layer_weights import FloatNetwork, WeightOptions
from imago.quantize.onnx_view import View
from imago.quantize.onnx_view import label as label_of
from imago.quantize.ort_tools import open_session
from imago.quantize.plan import make_plan, weighted_nodes
from imago.quantize.prepare import CHANNELS, is_depthwise, prepared
from imago.quantize.ptq import Candidate, divergence, quantise
from imago.quantize.qdq import quantised
from imago.quantize.sensitivity import island
from imago.quantize.statistics import Statistics, collect

from support import ROOT

FAMILIES = ("lenet5", "mobilenet_v2", "mobilenet_v3_small")
SLOW = [
    pytest.param(name, marks=pytest.mark.slow) for name in ("resnet18", "efficientnet_b0", "shufflenet_v2")
]
# Integer kernels of ONNX Runtime, by the float operator that they stand for.
INTEGER = {"Conv": ("QLinearConv",), "Gemm": ("QGemm",), "MatMul": ("QLinearMatMul", "MatMulIntegerToFloat")}


@cache
def floating(name: str) -> FloatNetwork:
    """The prepared float network and what flows through it."""
    model, images = network(name)
    ready = prepared(model)
    return FloatNetwork.of(ready, collect(ready, images[:16]))


def extremes(statistics: Statistics) -> dict[str, tuple[float, float]]:
    return {name: (t.low, t.high) for name, t in statistics.items()}


def integer(
    name: str, weights: WeightOptions | None = None, floats: frozenset[str] = frozenset()
) -> onnx.ModelProto:
    """Without a search: extremes as ranges."""
    source = floating(name)
    return quantised(source, extremes(source.statistics), weights, floats)


def executed(model: onnx.ModelProto, image: np.ndarray) -> Counter[str]:
    """Operators that ONNX Runtime's profiler saw running for one picture."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling, options.log_severity_level = 1, True, 3
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "p")
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        session.run(None, {model.graph.input[0].name: image[None]})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return Counter(e["args"]["op_name"] for e in events if e.get("name", "").endswith("_kernel_time"))


@pytest.mark.parametrize("name", [*FAMILIES, *SLOW])
def test_every_layer_runs_in_integers(name: str) -> None:
    """By the profile of a real run, and the report says what the profile says."""
    model, images = integer(name), network(name)[1]
    ran, report = executed(model, images[0]), kernels(model)
    layers = Counter(n.op_type for n in weighted_nodes(floating(name).view))
    for kind, count in layers.items():
        assert sum(ran[k] for k in INTEGER[kind]) == count
        assert not ran[kind] and not ran[f"Fused{kind}"]
    assert Counter(kind for kind, _ in report.floats) <= ran
    assert report.integer + report.conversions + len(report.floats) == sum(ran.values())
    assert ran["QuantizeLinear"] + ran["DequantizeLinear"] == report.conversions
    assert report.conversions <= 1  # into the Softmax at most


@pytest.mark.parametrize("name", ["lenet5", "mobilenet_v3_small"])
def test_nothing_but_softmax_is_float(name: str) -> None:
    """No HardSwish, HardSigmoid or squeeze-and-excite that falls back to floats between integers."""
    assert {kind for kind, _ in kernels(integer(name)).floats} <= {"Softmax"}


@pytest.mark.parametrize("name", [*FAMILIES, *SLOW])
def test_preparing_changes_nothing_but_the_width(name: str) -> None:
    model, images = network(name)
    view = floating(name).view
    # Sums over other widths run in another order: ShuffleNetV2 differs by 1.01e-5 where AVX-512 adds.
    np.testing.assert_allclose(answers(view.model, images), answers(model, images), atol=2e-5)
    groups = [view.constants[n.input[1]].shape[0] for n in view.graph.node if is_depthwise(view, n)]
    if name != "shufflenet_v2":  # whose channels change places between branches: they are left as they are
        assert all(channels % CHANNELS == 0 for channels in groups)
    names = [n.name for n in view.graph.node]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["lenet5", "mobilenet_v3_small"])
def test_the_fused_graph_is_near_the_written_one_and_the_float_one(name: str) -> None:
    """What the engine makes of the file means what the file says (trained networks: test_qat_trained.py)."""
    model, (source, images) = integer(name), network(name)
    wanted, plain = answers(source, images), answers(model, images, fused=False)
    fused = answers(model, images)
    shifted = np.roll(wanted, 1, axis=0)  # other pictures' answers: what "far" is
    assert divergence(wanted, plain) < 0.3 * divergence(wanted, shifted)
    assert divergence(plain, fused) < 0.1 * divergence(wanted, shifted)


@pytest.mark.parametrize("per_channel", [True, False])
def test_scales_of_weights_are_per_channel_or_one(per_channel: bool) -> None:
    model = integer("mobilenet_v2", WeightOptions(per_channel))
    constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    dequantised = [n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in constants]
    stored = [n for n in dequantised if constants[n.input[0]].dtype == np.int8]
    assert len(stored) == len(weighted_nodes(floating("mobilenet_v2").view))
    for node in stored:
        outputs = constants[node.input[0]].shape[0]
        assert constants[node.input[1]].size == (outputs if per_channel else 1)
        assert not constants[node.input[2]].any()  # symmetric


def test_per_channel_is_nearer_on_depthwise_networks() -> None:
    source, images = network("mobilenet_v2")
    wanted = answers(source, images)
    rows, single = (answers(integer("mobilenet_v2", WeightOptions(p)), images) for p in (True, False))
    assert divergence(wanted, rows) < divergence(wanted, single)


def test_bias_correction_takes_the_mean_error_out() -> None:
    """Measured with ONNX Runtime: outputs of 1×1 convolutions, which see no border, with rounded weights."""
    source, images = floating("mobilenet_v2"), network("mobilenet_v2")[1][:16]
    plan = make_plan(source.view, extremes(source.statistics))
    layers = [y for y in plan.layers.values() if y.node.op_type == "Conv"]
    pointwise = [y for y in layers if source.view.constants[y.node.input[1]].shape[2:] == (1, 1)][::6]
    left: dict[bool, list[float]] = {True: [], False: []}
    for layer in pointwise:
        node, view = layer.node, View(source.view.model)
        before = _means(view, node, images)
        for corrected, found in left.items():
            options = WeightOptions(False, corrected)
            weights = source.integers(layer, plan.grids[node.input[0]], options, None)
            view.set_constant(node.input[1], weights.weight.real)
            view.set_constant(node.input[2], weights.bias * weights.bias_scales)
            found.append(float(np.abs(_means(view, node, images) - before).mean()))
    assert len(pointwise) >= 5
    assert all(a < 0.1 * b for a, b in zip(left[True], left[False], strict=True))


def _means(view: View, node: onnx.NodeProto, images: np.ndarray) -> np.ndarray:
    """Mean of each output channel of ``node`` over pictures and places."""
    model = onnx.ModelProto.FromString(view.model.SerializeToString())
    del model.graph.output[:]
    model.graph.output.extend([onnx.helper.make_empty_tensor_value_info(node.output[0])])
    session = open_session(model)
    maps = [session.run(None, {view.image: row[None]})[0] for row in images]
    return np.asarray(np.concatenate(maps).mean((0, 2, 3), dtype=np.float64))


@pytest.mark.parametrize("name", [*FAMILIES, *SLOW])
def test_the_exact_twin_rounds_to_the_integers(name: str) -> None:
    """Training starts from it: same nodes, and weights of which the stored integers are the roundings."""
    source = floating(name)
    ranges = extremes(source.statistics)
    whole, twin = (quantised(source, ranges, WeightOptions(True, False), exact=e) for e in (False, True))
    files = [{i.name: numpy_helper.to_array(i) for i in m.graph.initializer} for m in (whole, twin)]
    made = {n.output[0]: n for n in whole.graph.node}
    twins = {n.name: n for n in twin.graph.node if n.name}
    layers = [n for n in whole.graph.node if n.op_type in INTEGER]
    assert len(layers) == len(weighted_nodes(source.view))
    for node in layers:
        stored = made[node.input[1]]
        scales = files[0][stored.input[1]].astype(np.float64)
        axis = next((a.i for a in stored.attribute if a.name == "axis"), 0)
        weight = np.moveaxis(files[1][twins[node.name].input[1]], axis, 0).reshape(scales.size, -1)
        rounded = np.clip(np.rint(weight / scales[:, None]), -127, 127)
        values = np.moveaxis(files[0][stored.input[0]], axis, 0).reshape(scales.size, -1)
        assert (rounded == values).mean() > 0.999, node.name  # a tie may fall either way in float32


def test_all_in_float_is_the_float_network() -> None:
    source, images = network("mobilenet_v3_small")
    everything = frozenset(n.name for n in floating("mobilenet_v3_small").view.graph.node)
    model = integer("mobilenet_v3_small", floats=everything)
    assert "QuantizeLinear" not in {n.op_type for n in model.graph.node}
    np.testing.assert_allclose(answers(model, images), answers(source, images), atol=1e-5)


@pytest.mark.parametrize("name", ["lenet5", "mobilenet_v3_small"])
def test_a_layer_kept_float_runs_in_float(name: str) -> None:
    """ONNX Runtime turns it into an integer kernel again where it can, over a pooling in between too."""
    view = floating(name).view
    chosen = [n for n in weighted_nodes(view) if n.op_type == "Conv"][1]
    for floats in (frozenset((chosen.name,)), island(view, chosen)):
        model = integer(name, floats=floats)
        ran = executed(model, network(name)[1][0])
        assert sum(ran[k] for k in ("Conv", "FusedConv")) == 1
        assert [label for kind, label in kernels(model).floats if "Conv" in kind] == [label_of(chosen)]


def test_an_operator_without_integer_form_stays_float_and_is_named() -> None:
    """The rest of the network is int8 all the same."""
    model, images = network("lenet5")
    odd = onnx.ModelProto.FromString(model.SerializeToString())
    next(n for n in odd.graph.node if n.op_type == "Relu").op_type = "Softsign"
    made = quantise(odd, images[:8], images[8:])
    floats = [kind for kind, _ in kernels(made.model).floats]
    assert floats.count("Softsign") == 1
    assert not {"Conv", "FusedConv", "Gemm"} & set(floats)
    assert divergence(answers(odd, images), answers(made.model, images)) < 0.05


@cache
def searched() -> Candidate:
    _, images = network("lenet5")
    return quantise(network("lenet5")[0], images[:12], images[12:])


def test_the_search_keeps_the_best_that_it_saw() -> None:
    best, images = searched(), network("lenet5")[1][12:]
    assert len(best.tried) >= 8
    assert best.divergence == min(t.divergence for t in best.tried)
    wanted = answers(best.network.view.model, images)
    assert divergence(wanted, answers(best.model, images)) == pytest.approx(best.divergence, rel=1e-4)


DIGEST = """
import hashlib, sys
import onnx, numpy as np
from imago.quantize.ptq import quantise
images = np.load(sys.argv[2])
made = quantise(onnx.load(sys.argv[1]), images[:12], images[12:])
floats = frozenset(n.name for n in made.network.view.graph.node if n.op_type == "Conv")
from imago.quantize.sensitivity import remade
for model in (made.model, made.exact(), remade(made, floats)):
    print(hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest())
"""


def test_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    """Python orders sets anew in every process; the file must not."""
    model, images = network("lenet5")
    onnx.save(model, tmp_path / "m.onnx")
    np.save(tmp_path / "i.npy", images)
    said = []
    for seed in ("1", "77"):
        env = {**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", DIGEST, str(tmp_path / "m.onnx"), str(tmp_path / "i.npy")]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=200)
        said.append(done.stdout.split())
    assert said[0] == said[1]
    here = hashlib.sha256(searched().model.SerializeToString(deterministic=True)).hexdigest()
    assert said[0][0] == here
