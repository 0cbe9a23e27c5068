"""Networks of one's own: the table against torch, LeNet-5 rebuilt, every change fits or is refused whole."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from imago.edge_runtime.errors import ImagoError, InputError
from imago.edge_runtime.spec import InputSpec, ModelSpec
from imago.export.onnx_export import Deployable, export_onnx
from imago.train import Net
from imago.train.config import TrainConfig
from imago.train.models.blocks import Inception, Residual
from imago.train.models.layers import (
    AvgPool,
    BatchNorm,
    Conv2D,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool,
    ReLU,
    Softmax,
)
from imago.train.models.net_module import LayeredNet
from imago.train.models.plan import Plan, config_of, plan_of, read_plan
from imago.train.models.registry import ModelConfig, build_from_config, build_model
from imago.train.models.rows import totals
from imago.train.models.summary import layer_table
from imago.train.run import Run

from picture_support import striped_folders
from support import ROOT, imago, need_converter


def lenet() -> Net:
    """As the lesson's BaseNN program types it, sizes and all; C5 as a convolution, as in the paper."""
    net = Net(input=(1, 32, 32), name="lenet")
    net.add("Conv2D", size=(1, 6), kernel_size=(5, 5), activation="ReLU")
    net.add("MaxPool", kernel_size=(2, 2))
    net.add("Conv2D", size=(6, 16), kernel_size=(5, 5), activation="ReLU")
    net.add("MaxPool", kernel_size=(2, 2))
    net.add("conv2d", 120, kernel=5, activation="relu")
    net.add("Linear", size=(120, 84), activation="ReLU")
    return net.add("Linear", size=(84, 10), activation="Softmax")


def test_lenet5_is_the_catalogues() -> None:
    ours, theirs = lenet().module(), build_model("lenet5", 10, channels=1, size=(32, 32)).module
    assert totals(lenet().table()) == (61_706, 416_520)
    tensors = zip(ours.state_dict(), theirs.state_dict().values(), strict=True)
    ours.load_state_dict(dict(tensors))
    pictures = torch.rand(5, 1, 32, 32)
    assert torch.equal(ours.eval()(pictures), theirs.eval()(pictures))


small = st.integers(1, 9)
LAYER = st.one_of(
    st.builds(Conv2D, small, st.integers(1, 5), st.integers(1, 3), st.just(0), st.sampled_from(["", "relu"])),
    st.builds(Conv2D, small, st.just(5), st.just(1), st.integers(1, 4)),
    st.builds(MaxPool, st.integers(1, 3), st.integers(0, 3)),
    st.builds(AvgPool, st.integers(1, 3), st.integers(0, 3)),
    st.builds(GlobalAvgPool),
    st.builds(BatchNorm),
    st.builds(Dropout, st.floats(0, 0.9)),
    st.builds(Flatten),
    st.builds(Linear, small, st.sampled_from(["", "relu"])),
    st.builds(ReLU),
    st.builds(Residual, small, st.sampled_from([1, 3, 5]), st.integers(1, 2)),
    st.builds(Inception, st.sampled_from([8, 16, 24])),
)
INPUT = st.tuples(st.sampled_from([1, 3]), st.integers(1, 21), st.integers(1, 21))


def fitting(shape: tuple[int, int, int], layers: list) -> Plan:
    """As many of ``layers`` as fit one after the other, with a last Linear and Softmax."""
    plan = Plan(shape)
    for layer in layers:
        longer = replace(plan, layers=(*plan.layers, layer))
        if len(longer.trace().rows) == len(longer.layers):
            plan = longer
    return replace(plan, layers=(*plan.layers, Linear(4), Softmax()))


@settings(max_examples=150, deadline=None)
@given(INPUT, st.lists(LAYER, max_size=8))
def test_the_table_says_what_torch_does(shape: tuple[int, int, int], layers: list) -> None:
    plan = fitting(shape, layers)
    rows = plan.require().rows
    with torch.device("meta"):
        module = LayeredNet(plan)
    seen: dict[str, torch.Size] = {}
    for name, child in module.named_children():
        child.register_forward_hook(lambda *a, name=name: seen.__setitem__(name, a[2].shape[1:]))
    real = layer_table(module, shape)
    for row in rows[:-1]:  # Softmax is left to the loss
        assert tuple(seen[row.name]) == row.shape, row
        own = [r for r in real if r.name.split(".")[0] == row.name]
        assert totals(own) == (row.params, row.macs), row
    assert sum(p.numel() for p in module.parameters()) == totals(rows)[0]
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


@settings(max_examples=150, deadline=None)
@given(INPUT, st.lists(LAYER, min_size=1, max_size=6))
def test_what_does_not_fit_does_not_fit_torch_either(shape: tuple[int, int, int], layers: list) -> None:
    plan = Plan(shape, (*layers, Linear(3)))
    trace = plan.trace()
    if trace.problem is None:
        with torch.no_grad():
            assert LayeredNet(plan).eval()(torch.zeros(1, *shape)).shape == (1, 3)
        return
    with pytest.raises(InputError) as caught:
        LayeredNet(plan)
    assert str(caught.value) == str(trace.problem)
    assert f"layer {len(trace.rows) + 1} " in str(trace.problem)


SEEDS = [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))]


@pytest.mark.parametrize("seed", SEEDS)
def test_random_nets_export_and_onnx_runtime_agrees(seed: int, tmp_path: Path) -> None:
    """export_onnx verifies torch against ONNX Runtime picture by picture and raises where they differ."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    shape = (rng.choice([1, 3]), rng.randint(12, 24), rng.randint(12, 24))
    pool = [
        Conv2D(rng.randint(2, 8), rng.randint(1, 4), padding=0, activation="relu"),
        Conv2D(8, 5, padding=2),
        MaxPool(2),
        AvgPool(3, 2),
        BatchNorm(),
        Dropout(0.4),
        ReLU(),
        Residual(rng.randint(2, 9), 3, rng.randint(1, 2)),
        Inception(16),
        GlobalAvgPool(),
        Flatten(),
        Linear(9, "relu"),
    ]
    plan = fitting(shape, rng.choices(pool[:-3], k=6) + rng.choices(pool[-3:], k=1) + [BatchNorm()])
    module = LayeredNet(plan).train()
    with torch.no_grad():
        for _ in range(3):
            module(torch.randn(16, *shape))
    color = "gray" if shape[0] == 1 else "rgb"
    spec = ModelSpec(labels=tuple("abcd"), input=InputSpec(shape[2], shape[1], shape[0], color))
    pictures = np.random.default_rng(seed).integers(0, 256, (6, *shape[1:], shape[0]), np.uint8)
    done = export_onnx(Deployable(module, shape[0], (0.5,), (0.3,), 1.2), spec, pictures, tmp_path / "m.onnx")
    assert done.passed
    assert done.n == 6


def test_layers_are_taken_out_moved_and_changed() -> None:
    net = lenet()
    assert [row.shape for row in net.remove(2).table()][:2] == [(6, 28, 28), (16, 24, 24)]
    net.move(3, 1)
    assert [row.type for row in net.table()][:3] == ["MaxPool", "Conv2D", "Conv2D"]
    net.change(2, kernel_size=(3, 3), padding="same").change(7 - 1, units=5)
    assert net.table()[1].shape == (6, 16, 16)
    assert net.plan.classes == 5
    assert "5×5" in str(net)
    assert str(net).splitlines()[-1].split()[-2:] == [f"{n:,}" for n in totals(net.table())]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda n: n.add("relu"), "last layer only"),
        (lambda n: n.insert(4, "conv2d", 8, kernel=11), "at most 10×10"),
        (lambda n: n.insert(5, "inception", 12), "take 16"),
        (lambda n: n.insert(7, "conv2d", 8), "needs feature maps"),
        (lambda n: n.insert(2, "Conf2D", 8), "nearest: Conv2D"),
        (lambda n: n.insert(2, "conv2d"), "needs its number of channels"),
        (lambda n: n.insert(2, "conv2d", 8, colour="red"), "no setting 'colour'"),
        (lambda n: n.insert(2, "conv2d", 8, kernel=(3, 5)), "windows are square"),
        (lambda n: n.insert(2, "conv2d", 8, 3, kernel=3), "twice"),
        (lambda n: n.insert(2, "conv2d", "8"), "whole number"),
        (lambda n: n.insert(2, "conv2d", True), "whole number"),
        (lambda n: n.insert(2, "dropout", 1.5), "from 0.0 to 0.95"),
        (lambda n: n.insert(2, "conv2d", 8, padding="same", kernel=4), "odd"),
        (lambda n: n.insert(2, "conv2d", 8, 3, padding=3), "at most 2"),
        (lambda n: n.insert(2, "residual", 8, kernel=4), "odd"),
        (lambda n: n.insert(2, "softmax"), "only the last"),
        (lambda n: n.insert(2, "linear"), "give one here"),
        (lambda n: n.change(3, size=(7, 16)), "write 6"),
        (lambda n: n.change(1, kernel_size=33), "kernel is 33"),
        (lambda n: n.remove(8), "the network has 7"),
        (lambda n: n.move(1, 9), "no layer 9"),
        (lambda n: n.insert(6, "linear", 100_000).insert(6, "linear", 100_000), "64,000,000"),
    ],
)
def test_a_change_that_does_not_fit_changes_nothing(change: object, said: str) -> None:
    net = lenet()
    before = net.plan
    with pytest.raises(ImagoError, match=said.replace("(", r"\(")):
        change(net)  # type: ignore[operator]
    assert len(net.plan.layers) in (len(before.layers), len(before.layers) + 1)
    if "64,000" not in said:
        assert net.plan == before


def test_a_network_needs_its_end() -> None:
    net = Net((3, 8, 8)).add("conv2d", 4)
    with pytest.raises(InputError, match="ends in a Linear"):
        net.module()
    net.add("linear", 7, activation="relu")
    with pytest.raises(InputError, match="cut them off"):
        net.module()
    assert isinstance(net.add("linear").module(3), nn.Module)
    with pytest.raises(InputError, match="no layers yet"):
        Net().module()
    with pytest.raises(InputError, match="1 \\(grey\\) or 3"):
        Net((2, 8, 8))


def test_the_answer_follows_the_data_and_a_wrong_number_is_told() -> None:
    open_end = Net((1, 8, 8)).add("linear").plan
    assert config_of(open_end, 6).num_classes == 6
    assert plan_of(config_of(open_end, 6)).classes == 6
    with pytest.raises(InputError, match="has 10 outputs, the data have 6"):
        config_of(lenet().plan, 6)


HOSTILE = [
    "[]",
    "{",
    '{"input": [1, 8, 8]}',
    '{"input": [1, 8, 8], "layers": [{"layer": "conv2d"}]}',
    '{"input": [1, 8, 8], "layers": [{"layer": "__import__"}]}',
    '{"input": [1, 8, 8], "layers": [{"layer": "conv2d", "channels": 1e9}]}',
    '{"input": [1, 8, 8], "layers": [{"layer": "conv2d", "channels": 4, "KIND": "x"}]}',
    '{"input": [1, 8, 8], "layers": [{"layer": "dropout", "share": NaN}, {"layer": "linear"}]}',
    '{"input": [1, 1e3, 8], "layers": [{"layer": "linear"}]}',
    '{"input": "abc", "layers": [{"layer": "linear"}]}',
    '{"input": [1, 8, 8], "layers": [{"layer": ["linear"]}]}',
    '{"input": [1, 8, 8], "layers": [7]}',
    '{"input": [3, 1024, 1024], "layers": [{"layer": "conv2d", "channels": 2048}, {"layer": "linear"}]}',
    json.dumps({"input": [1, 8, 8], "layers": [{"layer": "relu"}] * 5000}),
    "[" * 100_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_descriptions_are_one_clear_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text(text)
    with pytest.raises(InputError, match=r"net\.json"):
        read_plan(tmp_path / "net.json")


def test_a_damaged_run_is_told() -> None:
    config = config_of(Net((1, 8, 8)).add("linear").plan, 3)
    bad = ModelConfig.from_dict({**config.to_dict(), "extra": {"layers": [{"layer": "conv2d"}]}})
    with pytest.raises(ImagoError, match="layer 1"):
        build_from_config(bad)


@pytest.mark.parametrize(
    "other",
    [{"model": "resnet18"}, {"pretrained": True}, {"width_mult": 0.5}, {"size": 64}, {"stem": 1}],
    ids=lambda o: next(iter(o)),
)
def test_a_net_decides_alone(other: dict) -> None:
    with pytest.raises(InputError, match="leave out"):
        TrainConfig(net=lenet().plan, **other)


def test_settings_survive_the_run_file() -> None:
    config = TrainConfig(net=lenet().plan, epochs=3)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of one's own, trained from the command line."""
    folder = tmp_path_factory.mktemp("net")
    photos = striped_folders(folder / "photos")
    net = Net((3, 24, 24)).add("conv2d", 16, 3, activation="relu").add("max_pool")
    net.add("residual", 16).add("inception", 24).add("gap").add("linear", 12, activation="relu")
    net.add("dropout", 0.1).add("linear").add("softmax")
    net.save(folder / "tiny.json")
    arguments = ["--net", str(folder / "tiny.json"), "--epochs", "6", "--batch-size", "16", "--threads", "1"]
    done = imago("train", str(photos), "--out", str(folder / "run"), *arguments)
    assert done.returncode == 0, done.stderr
    assert "net:tiny" in done.stdout
    return folder / "run"


def test_a_run_describes_its_own_network(run: Path) -> None:
    found = Run.load(run)
    assert found.model["name"] == "net:tiny"
    assert plan_of(ModelConfig.from_dict(found.model)).layers[2] == Residual(16)
    assert json.loads((run / "metrics.json").read_text())["test"]["accuracy"] >= 0.9
    assert len(found.load_module(run).state_dict()) > 20


def test_it_exports_quantises_and_predicts(run: Path, tmp_path: Path) -> None:
    photos = run.parent / "photos"
    model, small = tmp_path / "m.onnx", tmp_path / "m8.onnx"
    assert imago("export", str(run), "-o", str(model)).returncode == 0
    done = imago("quantize", str(model), "--calibrate", str(photos), "-o", str(small), "--max-drop", "50")
    assert done.returncode in (0, 1), done.stderr
    picture = sorted((photos / "竖直").iterdir())[0]
    for file in (model, small) if done.returncode == 0 else (model,):
        said = imago("predict", str(file), str(picture), "--json", "-")
        assert said.returncode == 0, said.stderr
        assert "竖直" in said.stdout


@pytest.mark.slow
def test_a_finished_net_starts_another_training(run: Path, tmp_path: Path) -> None:
    photos = run.parent / "photos"
    done = imago("train", str(photos), "--init", str(run), "--out", str(tmp_path / "more"), "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert Run.load(tmp_path / "more").model == Run.load(run).model


def test_command_shows_a_file_and_refuses_a_bad_one(run: Path, tmp_path: Path) -> None:
    done = imago("models", "show", str(run.parent / "tiny.json"))
    assert done.returncode == 0, done.stderr
    assert "Inception" in done.stdout
    assert "one per class" in done.stdout
    (tmp_path / "bad.json").write_text('{"input": [1, 4, 4], "layers": [{"layer": "max_pool", "kernel": 9}]}')
    done = imago("train", str(run.parent / "photos"), "--net", str(tmp_path / "bad.json"))
    assert done.returncode == 2
    assert "layer 1 (MaxPool) does not fit" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_it_prunes_where_the_wiring_allows(run: Path, tmp_path: Path) -> None:
    done = imago("prune", str(run), "--macs", "0.6", "--epochs", "2", "--out", str(tmp_path / "small"))
    assert done.returncode == 0, done.stderr
    small = Run.load(tmp_path / "small")
    assert small.model["arch"]
    config = ModelConfig.from_dict(small.model)
    module = small.load_module(tmp_path / "small")
    shape = (config.channels, config.height, config.width)
    whole = Run.load(run).load_module(run)
    assert totals(layer_table(module, shape))[1] <= 0.6 * totals(layer_table(whole, shape))[1]


@pytest.mark.parametrize("page", ["lesson.md", "lesson.zh-CN.md"])
def test_the_lessons_program_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    program = text.split("```python\n")[1].split("```")[0]
    lines = [line for line in program.splitlines() if not line.startswith("net.train(")]
    assert len(lines) == len(program.splitlines()) - 1
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    exec("\n".join(lines), scope)  # noqa: S102 - our own documentation
    net = scope["net"]
    assert isinstance(net, Net)
    assert [row.type for row in net.table()][:3] == ["MaxPool", "Conv2D", "Conv2D"]
    assert read_plan(tmp_path / "mine.json") == net.plan


@pytest.mark.slow
def test_it_converts_to_tflite_where_the_converter_is(run: Path, tmp_path: Path) -> None:
    """export_run holds the converted file against torch, picture by picture, before it is written."""
    need_converter()
    assert imago("export", str(run), "-o", str(tmp_path / "m.tflite"), timeout=900).returncode == 0
    said = imago("evaluate", str(tmp_path / "m.tflite"), str(run.parent / "photos"), "--json", "-")
    measured = json.loads((run / "metrics.json").read_text())["test"]
    assert json.loads(said.stdout)["accuracy"] == pytest.approx(measured["accuracy"], abs=0.09)  # 1 of 12
