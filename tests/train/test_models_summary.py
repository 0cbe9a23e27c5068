"""The layer table: LeNet-5 by hand, torchvision's published figures, and the command that prints it."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from imago.cli.main import main
from imago.train.models.catalogue import MODELS
from imago.train.models.registry import ModelConfig
from imago.train.models.summary import describe, layer_table, totals

from support import imago

LENET = [  # LeCun 1998, C3 connected to all maps of S2
    ("c1", (6, 28, 28), 6 * (25 + 1), 28 * 28 * 6 * 25),
    ("s2", (6, 14, 14), 0, 0),
    ("c3", (16, 10, 10), 16 * (6 * 25 + 1), 10 * 10 * 16 * 6 * 25),
    ("s4", (16, 5, 5), 0, 0),
    ("c5", (120, 1, 1), 120 * (16 * 25 + 1), 120 * 16 * 25),
    ("f6", (84,), 84 * 121, 84 * 120),
    ("output", (10,), 10 * 85, 10 * 84),
]


def test_lenet5_row_by_row() -> None:
    rows = describe(ModelConfig("lenet5", 10, 1, 32, 32))
    assert [(row.name, row.shape, row.params, row.macs) for row in rows] == LENET
    assert totals(rows) == (61_706, 416_520)


@pytest.mark.parametrize("name", [name for name, info in MODELS.items() if info.builder])
def test_against_torchvisions_published_figures(name: str) -> None:
    from torchvision import models

    info = MODELS[name]
    meta = models.get_model_weights(info.builder).DEFAULT.meta
    params, macs = totals(describe(ModelConfig(name, 1000, 3, info.width, info.height)))
    assert macs / 1e9 == pytest.approx(meta["_ops"], rel=0.01)
    if name != "inception_v3":  # its published count includes the auxiliary head
        assert params == meta["num_params"]


def test_a_shared_layer_counts_its_weights_once_and_its_work_twice() -> None:
    layer = nn.Linear(8, 8)
    rows = layer_table(nn.Sequential(layer, nn.ReLU(), layer), (8,))
    assert [(row.params, row.macs) for row in rows] == [(72, 64), (0, 0), (0, 64)]


def test_the_network_is_left_as_it_was() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3, groups=1), nn.Dropout(0.5))
    module.train()
    layer_table(module, (1, 5, 5))
    assert module.training
    assert not module[0]._forward_hooks
    grouped = layer_table(nn.Sequential(nn.Conv2d(4, 8, 3, groups=4)), (4, 5, 5))
    assert grouped[0].macs == 8 * 9 * 9


def test_nothing_is_allocated_for_a_description() -> None:
    with torch.device("meta"):
        rows = describe(ModelConfig("alexnet", 10, 3, 224, 224))
    assert totals(rows)[0] > 50_000_000


def test_command_show_prints_the_lessons_layers() -> None:
    done = imago("models", "show", "lenet5")
    assert done.returncode == 0, done.stderr
    for text in ("6@28×28", "6@14×14", "16@10×10", "16@5×5", "120@1×1", "84", "61,706", "416,520"):
        assert text in done.stdout


def test_command_show_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "resnet18", "--size", "64", "--classes", "3", "--json", "-"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["config"]["num_classes"], data["config"]["stem"]) == (3, 1)
    assert data["layers"][-1]["shape"] == [3]
    assert data["params"] == sum(layer["params"] for layer in data["layers"])


def test_command_shows_a_narrow_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "mobilenet_v3_small", "--width", "0.5", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    data = json.loads(out)
    assert data["config"]["width_mult"] == 0.5
    assert data["params"] == totals(describe(ModelConfig.from_dict(data["config"])))[0] < 500_000
    assert err.startswith("mobilenet_v3_small ×0.5: ")


def test_command_lists_all_networks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGO_LANG", "zh")
    assert main(["models", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert [entry["name"] for entry in json.loads(out)["models"]] == list(MODELS)
    assert "乘加次数" in err


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("nearest: lenet5", ["show", "lenet"]),
        ("which network", ["show"]),
        ("at least 63×63", ["show", "alexnet", "--size", "32"]),
        ("--classes", ["show", "lenet5", "--classes", "0"]),
        ("one width only", ["show", "resnet18", "--width", "0.5"]),
        ("expected 0.1 to 4.0", ["show", "mobilenet_v2", "--width", "0"]),
        ("invalid choice", ["paint", "lenet5"]),
    ],
)
def test_command_says_what_is_wrong_in_one_line(
    words: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1
