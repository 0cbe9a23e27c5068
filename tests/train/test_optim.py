"""Optimisers follow their published update rules; schedules have the promised shape."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from imago.edge_runtime.errors import InputError
from imago.train.config import OPTIMIZERS, TrainConfig
from imago.train.optim import WeightAverage, freeze_blocks, lr_at, make_optimizer, set_lr


def one_weight(config: TrainConfig, gradients: list[float]) -> float:
    """The value of a single weight, started at 1, after steps with these gradients."""
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    optimizer = make_optimizer(config, layer)
    for g in gradients:
        layer.weight.grad = torch.full_like(layer.weight, g)
        optimizer.step()
    return float(layer.weight.detach())


def test_sgd_and_momentum() -> None:
    assert one_weight(TrainConfig(optimizer="sgd", lr=0.1, weight_decay=0), [1, 2]) == pytest.approx(0.7)
    v1 = 1.0
    v2 = 0.9 * v1 + 2.0
    nesterov = 1 - 0.1 * (1 + 0.9 * v1) - 0.1 * (2 + 0.9 * v2)
    config = TrainConfig(optimizer="momentum", lr=0.1, weight_decay=0)
    assert one_weight(config, [1, 2]) == pytest.approx(nesterov)


def test_adam_first_step_is_the_learning_rate() -> None:
    for name in ("adam", "adamw"):
        config = TrainConfig(optimizer=name, lr=0.01, weight_decay=0)
        assert one_weight(config, [123.0]) == pytest.approx(0.99, abs=1e-5)


def test_adamw_decay_is_decoupled() -> None:
    assert one_weight(TrainConfig(optimizer="adamw", lr=0.1, weight_decay=0.5), [0.0]) == pytest.approx(0.95)


def test_rmsprop_without_momentum() -> None:
    config = TrainConfig(optimizer="rmsprop", lr=0.1, momentum=0, weight_decay=0)
    assert one_weight(config, [2.0]) == pytest.approx(1 - 0.1 * 2 / (math.sqrt(0.01 * 4) + 1e-8), abs=1e-5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_biases_and_norms_do_not_decay(optimizer: str) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    groups = make_optimizer(TrainConfig(optimizer=optimizer, weight_decay=0.3), net).param_groups
    assert [g["weight_decay"] for g in groups] == [0.3, 0.0]
    assert [len(g["params"]) for g in groups] == [1, 3]


def test_onecycle_rises_then_falls_to_zero() -> None:
    config = TrainConfig(lr=1.0, warmup=0.2)
    rates = [lr_at(config, s, 100) for s in range(100)]
    assert rates.index(max(rates)) == 20
    assert max(rates) == pytest.approx(1.0)
    assert all(a < b for a, b in pairwise(rates[:21]))
    assert all(a > b for a, b in pairwise(rates[20:]))
    assert rates[-1] < 0.001


def test_step_and_constant() -> None:
    step = TrainConfig(lr=1.0, schedule="step", warmup=0)
    assert [lr_at(step, s, 100) for s in (0, 59, 60, 84, 85, 99)] == [1, 1, 0.1, 0.1, 0.01, 0.01]
    assert lr_at(TrainConfig(lr=1.0, schedule="constant", warmup=0), 50, 100) == 1.0


def test_weight_average_is_a_running_mean_and_copies_counters() -> None:
    net = nn.BatchNorm1d(1)
    average = WeightAverage(net, 0.5)
    with torch.no_grad():
        net.weight.fill_(3.0)
        net.num_batches_tracked.fill_(7)  # type: ignore[union-attr]
    average.update(net, step=1000)
    assert float(average.state["weight"]) == pytest.approx(2.0)
    assert int(average.state["num_batches_tracked"]) == 7


def test_frozen_blocks_keep_weights_and_statistics() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))
    net.train()
    freeze_blocks(net, ["0", "1", "3"], 2)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    optimizer = make_optimizer(TrainConfig(optimizer="adamw"), net)
    set_lr(optimizer, 0.1)
    net(torch.randn(4, 1, 2, 2)).sum().backward()
    optimizer.step()
    changed = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"3.weight", "3.bias"}


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": 0},
        {"batch_size": 1},
        {"lr": 0.0},
        {"optimizer": "lion"},
        {"freeze": "half"},
        {"label_smoothing": 1.0},
        {"fit": "squeeze"},
    ],
)
def test_impossible_settings_are_one_clear_line(bad: dict[str, object]) -> None:
    with pytest.raises(InputError) as error:
        TrainConfig(**bad)  # type: ignore[arg-type]
    assert "expected" in str(error.value)


def test_config_round_trip() -> None:
    config = TrainConfig(model="resnet18", lr=0.3, seed=5, freeze="2")
    assert TrainConfig.from_dict(config.to_dict()) == config
