"""Training follows the graphs that imago's own quantiser writes: torch against the engine."""

from __future__ import annotations

import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from networks import answers, network
from onnx import numpy_helper

from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.contract import spec_from_metadata
from imago.quantize.calibration import pictures
from imago.quantize.kernels import kernels
from imago.quantize.layer_weights import FloatNetwork
from imago.quantize.options import QuantiseOptions
from imago.quantize.plan import weighted_nodes
from imago.quantize.prepare import prepared
from imago.quantize.ptq import quantise
from imago.quantize.qat.building import graph_module
from imago.quantize.qat.check import compare
from imago.quantize.qat.fake import QuantisedWeight, Values
from imago.quantize.qat.network import GraphModule, write_back
from imago.quantize.qat.reading import separated
from imago.quantize.qat.session import QatOptions, torch_probabilities
from imago.quantize.qdq import quantised
from imago.quantize.session import quantise_file
from imago.quantize.statistics import collect
from imago.train.config import TrainConfig
from imago.train.data.layouts import load_dataset
from imago.train.session import train
from imago.workflow.steps import export_run

from support import need_data

FAMILIES = ("lenet5", "mobilenet_v2", "mobilenet_v3_small")
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("resnet18", "efficientnet_b0")]
# Random networks amplify a rounding; the trained ones below are held to the product's own bar.
LOOSE = 0.9


@cache
def integer(name: str, kept: int = 0) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The int8 graph and its twin with float weights; so many layers in the middle stay float."""
    model, images = network(name)
    ready = prepared(model)
    source = FloatNetwork.of(ready, collect(ready, images[:16]))
    ranges = {key: (t.low, t.high) for key, t in source.statistics.items()}
    layers = weighted_nodes(source.view)
    middle = len(layers) // 2
    floats = frozenset(n.name for n in layers[middle : middle + kept])
    made, twin = (quantised(source, ranges, floats=floats, exact=exact) for exact in (False, True))
    return separated(made), twin


def agreement(module: GraphModule, model: onnx.ModelProto, images: np.ndarray) -> float:
    """Of torch with the file, node by node."""
    return compare(torch_probabilities(module, images), answers(model, images, fused=False)).agreement


def stepped(module: GraphModule, images: np.ndarray) -> None:
    """One step of Adam at the product's own rate on everything that is trained; nothing may be left without
    a gradient."""
    rate = QatOptions().lr
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=rate)
    logits = module(torch.from_numpy(images[:16]).float())
    torch.nn.functional.cross_entropy(logits, torch.arange(16) % 6).backward()
    asleep = [n for n, p in module.named_parameters() if p.requires_grad and p.grad is None]
    assert not asleep
    optimizer.step()


@pytest.mark.parametrize("name", [*FAMILIES, *SLOW])
def test_the_graph_is_understood(name: str) -> None:
    """Pixels that are never floats, widened pictures, hard-swish on one stored tensor, folded gates."""
    (model, twin), images = integer(name), network(name)[1]
    module = graph_module(model, twin)
    quantised_parts = [p for p in module.parts if isinstance(p, QuantisedWeight)]
    assert len(quantised_parts) == len(weighted_nodes(FloatNetwork.of(prepared(network(name)[0])).view))
    assert agreement(module, model, images) >= LOOSE
    fresh = write_back(model, module)  # untrained: the same file
    for before, after in zip(model.graph.initializer, fresh.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(before), numpy_helper.to_array(after))


@pytest.mark.parametrize("name", [*FAMILIES, *SLOW])
def test_training_starts_from_the_float_weights(name: str) -> None:
    """Not from their roundings: the shadows lie off the grid, and round to what the file stores."""
    model, twin = integer(name)
    module = graph_module(model, twin)
    constants = {i.name: numpy_helper.to_array(i) for i in twin.graph.initializer}
    twins = {n.name: n for n in twin.graph.node if n.name}
    made = {n.output[0]: n for n in model.graph.node}
    parts = {s.values: s.part for s in module._plan.stored}
    near, total = 0, 0
    for node in (n for n in model.graph.node if n.op_type in ("Conv", "Gemm", "MatMul")):
        part = parts[made[node.input[1]].input[0]]
        assert isinstance(part, QuantisedWeight)
        shadow = part.shadow().detach().numpy()
        wanted = constants[twins[node.name].input[1]]
        near += int(np.isclose(shadow, wanted, rtol=1e-4, atol=1e-7).sum())
        total += wanted.size
    assert near > 0.995 * total  # a rounding may fall the other way where a weight is a tie


@pytest.mark.parametrize("name", [*FAMILIES, *SLOW])
def test_after_a_step_the_engine_says_what_torch_says(name: str) -> None:
    (model, twin), images = integer(name), network(name)[1]
    module = graph_module(model, twin)
    stepped(module, images)
    fresh = write_back(model, module)
    assert fresh.SerializeToString() != model.SerializeToString()
    assert agreement(module, fresh, images) >= LOOSE
    before, after = kernels(model), kernels(fresh)
    assert (before.integer, before.conversions) == (after.integer, after.conversions)
    assert [kind for kind, _ in before.floats] == [kind for kind, _ in after.floats]


@pytest.mark.parametrize("name", ["lenet5", "mobilenet_v3_small"])
def test_layers_that_stay_float_are_trained_as_floats(name: str) -> None:
    (model, twin), images = integer(name, 2), network(name)[1]
    module = graph_module(model, twin)
    assert sum(isinstance(p, Values) for p in module.parts) >= 2
    assert agreement(module, model, images) >= LOOSE
    stepped(module, images)
    fresh = write_back(model, module)
    assert agreement(module, fresh, images) >= LOOSE
    assert len(kernels(fresh).floats) == len(kernels(model).floats)


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 and 30 real pictures of each of ten classes."""
    root = tmp_path_factory.mktemp("cifar")
    taken: dict[str, int] = {}
    with zipfile.ZipFile(need_data("cifar10_jpg.zip")) as packed:
        for entry in sorted(packed.namelist()):
            folder = "/".join(entry.split("/")[-3:-1])
            if not entry.endswith(".jpg") or taken.get(folder, 0) >= (100 if "train" in folder else 30):
                continue
            taken[folder] = taken.get(folder, 0) + 1
            target = root / folder / entry.rsplit("/", 1)[-1]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(packed.read(entry))
    return root


REAL = ("lenet5", "mobilenet_v2", "mobilenet_v3_small", "resnet18", "efficientnet_b0")


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_trained_networks_on_real_pictures(name: str, cifar: Path, tmp_path: Path) -> None:
    """torch's arithmetic is the engine's on pictures nobody trained on, before and after a step of training,
    and the fused engine's answers are near the float network's."""
    size = 0 if name == "lenet5" else 32
    train(cifar, TrainConfig(model=name, size=size, epochs=4, batch_size=32, threads=2), tmp_path / "run")
    source = export_run(tmp_path / "run").model
    with Classifier(source) as classifier:
        spec, data = classifier.spec, load_dataset(cifar)
    tensors = pictures(data, "train", spec, 256).tensors("nchw")
    held = pictures(data, "test", spec).tensors("nchw")
    best = quantise(source, tensors[:128], tensors[128:])
    assert kernels(best.model).summary() == "Softmax"
    model = separated(best.model)
    module = graph_module(model, best.exact())
    compare(torch_probabilities(module, held), answers(model, held)).require()
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=1e-3)
    teacher = torch.from_numpy(answers(onnx.load(source), tensors[:64])).float()
    loss = torch.nn.functional.cross_entropy(module(torch.from_numpy(tensors[:64]).float()), teacher)
    loss.backward()
    optimizer.step()
    fresh = write_back(model, module)
    compare(torch_probabilities(module, held), answers(fresh, held)).require()


@pytest.mark.slow
def test_the_command_trains_where_integers_miss_the_gate(cifar: Path, tmp_path: Path) -> None:
    """With no drop allowed few pictures can prove nothing: training is tried, measured and reported."""
    train(cifar, TrainConfig(model="mobilenet_v3_small", size=32, epochs=8, batch_size=32), tmp_path / "run")
    source = export_run(tmp_path / "run").model
    options = QuantiseOptions(calibration=64, max_drop=0, runs=20, precision="int8", qat=QatOptions(epochs=2))
    said: list[str] = []
    report = quantise_file(source, cifar, tmp_path / "s.onnx", options, say=said.append)
    assert any("training on with int8 arithmetic" in line for line in said)
    assert any("trained on" in v.scheme for v in report.versions)
    spec = spec_from_metadata({p.key: p.value for p in onnx.load(tmp_path / "s.onnx").metadata_props})
    assert spec is not None
    assert bool(report.qat) == ("trained on" in report.scheme) == ("qat" in spec.calibration)
    assert report.int8_accuracy >= report.fp32_accuracy - 0.05
