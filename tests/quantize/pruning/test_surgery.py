"""Cutting real networks: sizes as promised, rounding, what a run folder rebuilds, what engines say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from imago.edge_runtime.errors import InputError, ModelError
from imago.quantize.calibration import Pictures
from imago.quantize.pruning.cost import CostModel, cost_of
from imago.quantize.pruning.goal import Goal
from imago.quantize.pruning.importance import bn_scale, magnitude, taylor
from imago.quantize.pruning.plan import Limits, choose, limits
from imago.quantize.pruning.surgery import Feed, Patient
from imago.quantize.pruning.wiring import Wiring
from imago.train.batches import Normalise
from imago.train.bn_statistics import recalibrate
from imago.train.models.pruned import widths
from imago.train.models.registry import ModelConfig, build_from_config
from imago.train.models.summary import layer_table, totals
from imago.train.run import Run
from imago.workflow.steps import export_run

Maker = Callable[[str], tuple[nn.Module, ModelConfig]]
Writer = Callable[[nn.Module, ModelConfig], Path]

NETWORKS = (
    "lenet5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "resnet18",
    "efficientnet_b0",
)
LONG = ("mobilenet_v3_large", "efficientnet_b0")  # to export
EXPORTED = [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in NETWORKS]


def feed(config: ModelConfig, count: int = 16) -> Feed:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (count, config.height, config.width, config.channels), dtype=np.uint8)
    return Feed(Pictures(images, np.arange(count) % 10), Normalise((0.5,), (0.5,)), torch.device("cpu"))


def noise(config: ModelConfig, count: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(count, config.channels, config.height, config.width, generator=generator)


def shape(config: ModelConfig) -> tuple[int, int, int]:
    return config.channels, config.height, config.width


@torch.no_grad()
def logits(module: nn.Module, inputs: Tensor) -> Tensor:
    return torch.as_tensor(module.eval()(inputs))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("unit", ["macs", "params"])
def test_the_goal_is_met_and_counts_are_round(
    network: Maker, name: str, unit: Literal["macs", "params"]
) -> None:
    module, config = network(name)
    original = build_from_config(config).module
    wiring = Wiring(module, shape(config))
    costs = CostModel(module, shape(config), wiring.groups)
    each = [limits(name, group.channels) for group in wiring.groups]
    goal = Goal(unit, 0.5 * costs.total(unit, costs.full))
    gone = choose(magnitude(wiring.groups), costs, each, goal)
    for group, channels in zip(wiring.groups, gone, strict=True):
        if channels:
            wiring.remove(group, channels)

    params, macs = totals(layer_table(module, shape(config)))
    kept = [group.channels - len(channels) for group, channels in zip(wiring.groups, gone, strict=True)]
    assert (params, macs) == (costs.cost(kept).params, costs.cost(kept).macs)
    assert (macs if unit == "macs" else params) <= goal.limit
    for index, (group, limit) in enumerate(zip(wiring.groups, each, strict=True)):
        above = [
            c for c in (group.channels, *range(limit.step, group.channels, limit.step)) if c > kept[index]
        ]
        if above:  # any block more would have been too much
            fuller = [*kept[:index], min(above), *kept[index + 1 :]]
            assert costs.total(goal.unit, fuller) > goal.limit

    least = 1 if name == "lenet5" else 8
    before = dict(original.named_modules())
    for layer_name, layer in module.named_modules():
        for count, full in zip(widths(layer)[:2], widths(before[layer_name])[:2], strict=True):
            assert count == full or count % least == 0
            assert count == full or full < 24 or name == "lenet5" or count % 16 == 0
            assert count >= min(full, least)
    head = [layer for layer in module.modules() if isinstance(layer, nn.Linear)][-1]
    assert head.out_features == 10


@pytest.mark.parametrize("name", EXPORTED)
def test_a_run_folder_rebuilds_the_network_and_exports(network: Maker, run_folder: Writer, name: str) -> None:
    module, config = network(name)
    patient = Patient(module, config)
    goal = Goal("macs", 0.5 * patient.cost.macs)
    narrow = patient.cut(goal, "magnitude", feed(config))
    folder = run_folder(module, narrow)
    rebuilt = Run.load(folder).load_module(folder)
    assert torch.equal(logits(rebuilt, noise(config)), logits(module, noise(config)))
    assert cost_of(rebuilt, narrow).macs <= goal.limit
    exported = export_run(folder)  # verified against torch, or it raises
    assert exported.verification.passed
    assert exported.bytes == pytest.approx(cost_of(module, narrow).fp32_bytes, rel=0.05)


def silence(module: nn.Module, wiring: Wiring, channels: list[Tensor]) -> None:
    """Make the given channels of every group exactly zero wherever they are made."""
    for group, gone in zip(wiring.groups, channels, strict=True):
        for member in group.members:
            layer = module.get_submodule(member.layer)
            if member.side == "out":
                rows = member.channels[torch.isin(member.roots, gone)]
                for value in (layer.weight, layer.bias):
                    if value is not None:
                        value.data[rows] = 0


@pytest.mark.parametrize("name", NETWORKS)
def test_removing_channels_that_are_zero_changes_nothing(network: Maker, name: str) -> None:
    module, config = network(name)
    wiring = Wiring(module, shape(config))
    gone = [torch.randperm(g.channels)[: g.channels // 4] for g in wiring.groups]
    silence(module, wiring, gone)
    before = logits(module, noise(config))
    for group, channels in zip(wiring.groups, gone, strict=True):
        wiring.remove(group, channels.tolist())
    after = logits(module, noise(config))
    assert before.std() > 0
    assert torch.allclose(before, after, rtol=1e-4, atol=1e-5 * float(before.abs().max()))


@pytest.mark.parametrize("importance", ["taylor", "magnitude", "bn"])
def test_channels_without_weights_go_first(network: Maker, importance: str) -> None:
    module, config = network("mobilenet_v3_small")
    wiring = Wiring(module, shape(config))
    gone = [torch.randperm(g.channels)[: g.channels // 4] for g in wiring.groups]
    silence(module, wiring, gone)
    for group, channels in zip(wiring.groups, gone, strict=True):
        for member in group.consumers():
            columns = member.channels[torch.isin(member.roots, channels)]
            module.get_submodule(member.layer).weight.data[:, columns] = 0
    scores = {
        "taylor": lambda: taylor(module, wiring.groups, feed(config)),
        "magnitude": lambda: magnitude(wiring.groups),
        "bn": lambda: bn_scale(wiring.groups),
    }[importance]()
    for score, channels in zip(scores, gone, strict=True):
        others = [c for c in range(len(score)) if c not in channels.tolist()]
        assert score[channels].max() <= score[others].min()  # ReLU may have silenced others as well
        assert score[channels].max() < score.max()


@pytest.mark.parametrize("name", ["lenet5", "mobilenet_v3_small", "resnet18"])
def test_taylor_is_the_slope_of_the_loss(network: Maker, name: str) -> None:
    """Reference: finite differences. Fade a channel at all its readers by ε and see how the loss changes."""
    module, config = network(name)
    module.double()
    wiring = Wiring(network(name)[0], shape(config))  # traced in float32, scored in float64
    pictures = [(inputs.double(), labels) for inputs, labels in feed(config, 3)]
    scores = taylor(module, wiring.groups, pictures)
    inputs, labels = pictures[0]
    rng = np.random.default_rng(0)
    for index in rng.permutation(len(wiring.groups))[:4]:
        group, channel, step = wiring.groups[index], int(rng.integers(wiring.groups[index].channels)), 1e-6
        with torch.no_grad():
            losses = []
            for factor in (1 - step, 1 + step):
                kept = {}
                for member in group.consumers():
                    weight = module.get_submodule(member.layer).weight
                    kept[member.layer] = weight.detach().clone()
                    weight[:, member.channels[member.roots == channel]] *= factor
                losses.append(nn.functional.cross_entropy(module(inputs), labels, reduction="none"))
                for layer, value in kept.items():
                    module.get_submodule(layer).weight.copy_(value)
        slope = (losses[1] - losses[0]) / (2 * step)
        assert float(scores[index][channel]) == pytest.approx(
            float(slope.square().mean()), rel=1e-3, abs=1e-12
        )


def test_statistics_are_those_of_the_pictures(network: Maker) -> None:
    module, config = network("resnet18")
    pictures = feed(config, 64)
    recalibrate(module, pictures)
    seen = torch.cat([inputs for inputs, _ in pictures])
    first = nn.functional.conv2d(seen, module.conv1.weight, stride=2, padding=3)
    assert torch.allclose(module.bn1.running_mean, first.mean((0, 2, 3)), atol=1e-4)
    assert torch.allclose(module.bn1.running_var, first.var((0, 2, 3)), rtol=1e-2)
    assert module.bn1.momentum == 0.1
    assert not module.training


def test_scores_decide_and_costs_weigh() -> None:
    """One group against another by hand: the cheaper loss per saving goes first, in whole blocks."""
    module = nn.Sequential(nn.Conv2d(3, 16, 1), nn.Conv2d(16, 64, 1), nn.Conv2d(64, 5, 1))
    wiring = Wiring(module, (3, 8, 8))
    assert [group.channels for group in wiring.groups] == [16, 64]
    costs = CostModel(module, (3, 8, 8), wiring.groups)
    full = 64 * (3 * 16 + 16 * 64 + 64 * 5)
    assert costs.cost().macs == full
    scores = [torch.ones(16, dtype=torch.float64), torch.arange(64, dtype=torch.float64)]
    each = [Limits(8, 8), Limits(16, 16)]
    gone = choose(scores, costs, each, Goal("params", costs.cost().params - 1))
    assert gone == [list(range(8)), []]  # 8 points for 536 parameters beat 120 points for 352
    again = choose([scores[0] * 100, scores[1]], costs, each, Goal("params", costs.cost().params - 1))
    assert again == [[], list(range(16))]
    flat = choose(scores, costs, each, Goal("params", costs.cost().params - 1), priced=False)
    assert flat == [list(range(8)), []]  # mean score 1 against 7.5
    with pytest.raises(ValueError, match="left to remove"):
        choose(scores, costs, each, Goal("params", 10))


def test_limits_are_fine_for_lenet_and_round_for_others() -> None:
    assert limits("lenet5", 6) == Limits(1, 1)
    assert limits("lenet5", 120) == Limits(2, 24)
    assert limits("mobilenet_v2", 16) == Limits(8, 8)
    assert limits("mobilenet_v2", 1280) == Limits(16, 256)


def test_pruned_again_is_measured_against_the_original(network: Maker) -> None:
    module, config = network("mobilenet_v2")
    first = Patient(module, config)
    least = first.least
    once = first.cut(Goal("macs", 0.4 * first.cost.macs), "magnitude", feed(config))
    second = Patient(module, once)
    assert second.least.macs >= least.macs  # floors are shares of the original, not of what is left
    twice = second.cut(Goal("macs", 0.5 * second.cost.macs), "bn", feed(config))
    assert all(
        a <= b
        for name in twice.arch
        for a, b in zip(twice.arch[name], once.arch.get(name, (9999,) * 3), strict=False)
    )
    rebuilt = build_from_config(ModelConfig.from_dict(twice.to_dict())).module
    rebuilt.load_state_dict(module.state_dict())
    assert torch.equal(logits(rebuilt, noise(config)), logits(module, noise(config)))


def test_what_cannot_be_pruned_is_told(network: Maker) -> None:
    module, config = network("lenet5")
    with pytest.raises(InputError, match="batch normalisation"):
        Patient(module, config).require("bn")
    module, config = network("shufflenet_v2")
    with pytest.raises(InputError, match="cannot be pruned"):
        Patient(module, config)
    with pytest.raises(InputError, match="no channels"):
        Wiring(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4)), (3, 8, 8))


def test_an_old_description_is_read_and_a_false_one_is_refused() -> None:
    plain = {"name": "lenet5", "num_classes": 10, "channels": 1, "width": 32, "height": 32, "arch": {}}
    assert build_from_config(ModelConfig.from_dict(plain)).module.c1.out_channels == 6
    good = {**plain, "arch": {"c1": [4, 1, 1], "c3": [16, 4, 1]}}
    assert ModelConfig.from_dict(ModelConfig.from_dict(good).to_dict()).arch == {
        "c1": (4, 1, 1),
        "c3": (16, 4, 1),
    }
    assert build_from_config(ModelConfig.from_dict(good)).module.c3.in_channels == 4
    for arch in (
        {"c1": [4, 1, 1]},  # c3 still wants six
        {"c1": [7, 1, 1]},
        {"c1": [0, 1, 1]},
        {"c1": [4, 1]},
        {"c1": []},
        {"nothing": [4, 1, 1]},
        {"": [4, 1, 1]},
        {"c1": ["x"]},
        {"c1": 4},
        [1],
    ):
        with pytest.raises(ModelError):
            build_from_config(ModelConfig.from_dict({**plain, "arch": arch}))


def test_groups_are_named_after_their_first_layer() -> None:
    wiring = Wiring(build_from_config(ModelConfig("lenet5", 10, 1, 32, 32)).module, (1, 32, 32))
    assert [group.name for group in wiring.groups] == ["c1", "c3", "c5", "f6"]
