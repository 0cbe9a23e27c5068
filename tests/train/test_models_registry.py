"""Networks by name: the lesson's LeNet-5, torchvision's own functions, small inputs, exact rebuilding."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from imago.edge_runtime.errors import InputError, MissingDependency, ModelError
from imago.train.models.registry import (
    MODELS,
    ModelConfig,
    build_from_config,
    build_model,
    default_input,
    default_stem,
)
from imago.train.models.torchvision_nets import ALEXNET_SIDE

TORCHVISION = [name for name, info in MODELS.items() if info.builder]


def test_lenet5_is_the_lessons_network() -> None:
    built = build_model("lenet5", 10, channels=1, size=(32, 32))
    assert sum(p.numel() for p in built.module.parameters()) == 61_706
    assert [name for name, _ in built.module.named_children()] == [
        "c1",
        "s2",
        "c3",
        "s4",
        "c5",
        "f6",
        "output",
    ]
    assert built.blocks == ("c1", "c3", "c5", "f6", "output")
    assert default_input("lenet5") == (32, 32, 1, "gray")
    assert built.mean == built.std == (0.5,)


def test_lenet5_computes_what_its_layers_say() -> None:
    torch.manual_seed(0)
    module = build_model("lenet5", 10, channels=1, size=(32, 32)).module.eval()
    x = torch.randn(2, 1, 32, 32)
    weights = module.state_dict()

    def layer(name: str, value: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(value, weights[f"{name}.weight"], weights[f"{name}.bias"]).relu()

    value = nn.functional.max_pool2d(layer("c1", x), 2)
    value = nn.functional.max_pool2d(layer("c3", value), 2)
    value = layer("c5", value).flatten(1)
    value = (value @ weights["f6.weight"].T + weights["f6.bias"]).relu()
    torch.testing.assert_close(module(x), value @ weights["output.weight"].T + weights["output.bias"])


@pytest.mark.parametrize(("width", "height", "channels"), [(16, 16, 1), (28, 28, 1), (64, 48, 3)])
def test_lenet5_adapts_to_other_inputs(width: int, height: int, channels: int) -> None:
    module = build_model("lenet5", 7, channels=channels, size=(width, height)).module
    assert module(torch.zeros(1, channels, height, width)).shape == (1, 7)


@pytest.mark.parametrize("name", TORCHVISION)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_network_takes_its_sizes_and_classes(name: str, channels: int) -> None:
    info = MODELS[name]
    for side in {info.min_side, 96} if channels == 3 else {info.width}:
        with torch.device("meta"):
            built = build_model(name, 7, channels=channels, size=(side, side))
            logits = built.module.eval()(torch.zeros(2, channels, side, side))
        assert logits.shape == (2, 7)
        assert len(built.mean) in (1, channels)
        assert len(built.std) in (1, channels)


@pytest.mark.parametrize("name", list(MODELS))
def test_blocks_hold_every_weight_once_and_end_in_the_head(name: str) -> None:
    info = MODELS[name]
    with torch.device("meta"):
        built = build_model(name, 7, channels=info.channels, size=(info.width, info.height))
    names = [
        f"{block}.{key}"
        for block in built.blocks
        for key, _ in built.module.get_submodule(block).named_parameters()
    ]
    assert sorted(names) == sorted(key for key, _ in built.module.named_parameters())
    head = dict(built.module.get_submodule(built.head).named_parameters())
    assert head["weight"].shape[0] == 7


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2", "squeezenet", "alexnet"])
def test_at_its_own_size_it_is_torchvisions_network(name: str) -> None:
    from torchvision import models

    info = MODELS[name]
    built = build_model(name, 5, channels=3, size=(224, 224))
    assert built.config.stem == 0
    reference = models.get_model(info.builder, weights=None, num_classes=5)
    reference.load_state_dict(built.module.state_dict())
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(built.module.eval()(x), reference.eval()(x))


def test_small_inputs_keep_a_map_of_four_pixels() -> None:
    assert [default_stem("resnet18", side, side) for side in (224, 128, 127, 96, 64, 63, 32)] == [
        0,
        0,
        1,
        1,
        1,
        2,
        2,
    ]
    assert default_stem("squeezenet", 64, 64) == 0  # its map is only 16 times smaller
    assert default_stem("resnet18", 224, 64) == 1  # the shorter side counts
    seen: list[tuple[int, ...]] = []
    with torch.device("meta"):
        module = build_model("resnet18", 5, channels=3, size=(32, 32)).module.eval()
        module.get_submodule("layer4").register_forward_hook(lambda *a: seen.append(tuple(a[2].shape)))
        module(torch.zeros(1, 3, 32, 32))
    assert seen == [(1, 512, 4, 4)]


@pytest.mark.parametrize(("name", "side"), [("lenet5", 32), ("mobilenet_v3_small", 64), ("resnet18", 32)])
def test_the_description_rebuilds_exactly(name: str, side: int) -> None:
    built = build_model(name, 4, channels=1, size=(side, side))
    config = ModelConfig.from_dict(json.loads(json.dumps(built.config.to_dict())))
    assert config == built.config
    again = build_from_config(config)
    again.module.load_state_dict(built.module.state_dict())
    x = torch.randn(2, 1, side, side)
    with torch.no_grad():
        assert torch.equal(built.module.eval()(x), again.module.eval()(x))
    assert (again.blocks, again.mean, again.std) == (built.blocks, built.mean, built.std)


def test_statistics_of_batch_norm_follow_short_runs() -> None:
    built = build_model("mobilenet_v3_small", 4, channels=3, size=(64, 64))
    norms = [layer for layer in built.module.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms
    assert all(layer.momentum == 0.1 for layer in norms)


def test_same_seed_same_weights() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build_model("shufflenet_v2", 4, channels=1, size=(64, 64)).module.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize(
    ("name", "side", "words"),
    [
        ("alexnet", 62, "at least 63×63"),
        ("inception_v3", 74, "at least 75×75"),
        ("googlenet", 31, "at least 32×32"),
        ("lenet5", 15, "at least 16×16"),
        ("mobilnet_v3", 64, "mobilenet_v3_small"),
    ],
)
def test_what_cannot_be_built_is_said(name: str, side: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        build_model(name, 3, channels=3, size=(side, side))


def test_alexnets_pretrained_classifier_needs_its_size() -> None:
    with pytest.raises(InputError, match="--size 224"):
        build_model("alexnet", 3, channels=3, size=(ALEXNET_SIDE - 1, 224), pretrained=True)
    with torch.device("meta"):
        module = build_model("alexnet", 3, channels=3, size=(ALEXNET_SIDE, ALEXNET_SIDE)).module
    assert module.get_submodule("classifier.1").weight.shape == (4096, 9216)


def test_no_pretrained_lenet() -> None:
    with pytest.raises(InputError, match="no ImageNet weights for lenet5"):
        build_model("lenet5", 3, channels=1, size=(32, 32), pretrained=True)


@pytest.mark.parametrize(
    "data",
    [
        {"name": "lenet5"},
        {"name": "lenet5", "num_classes": 0, "channels": 1, "width": 32, "height": 32},
        {"name": "lenet5", "num_classes": "x", "channels": 1, "width": 32, "height": 32},
        {"name": "lenet5", "num_classes": 3, "channels": 2, "width": 32, "height": 32},
        {"name": "resnet18", "num_classes": 3, "channels": 3, "width": 32, "height": 32, "stem": 3},
    ],
)
def test_a_damaged_description_is_one_clear_error(data: dict[str, object]) -> None:
    with pytest.raises(ModelError):
        ModelConfig.from_dict(data)


@pytest.mark.parametrize("arch", [{"nowhere": (4, 1, 1)}, {"c1": (4,)}, {"c1": (400, 1, 1)}])
def test_widths_that_are_not_this_networks_are_told(arch: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ModelError):
        build_from_config(ModelConfig("lenet5", 3, 1, 32, 32, arch=arch))


def test_timm_is_asked_for_when_it_is_not_there() -> None:
    try:
        import timm  # noqa: F401
    except ImportError:
        with pytest.raises(MissingDependency, match="pip install"):
            build_model("timm:mobilenetv4_conv_small", 3, channels=3, size=(96, 96))
    else:
        built = build_model("timm:mobilenetv4_conv_small", 3, channels=1, size=(96, 96))
        assert built.module(torch.zeros(2, 1, 96, 96)).shape == (2, 3)
        assert built.head == "classifier"
        with pytest.raises(InputError, match="no network"):
            build_model("timm:hf-hub:someone/something", 3, channels=3, size=(96, 96))


def parameters(module: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(p.shape) for p in module.parameters()]


@pytest.mark.parametrize("factor", [0.35, 0.5, 0.75, 1.0, 1.4])
def test_widths_are_torchvisions_own(factor: float) -> None:
    """Layer by layer against torchvision's builders and the published table of MobileNetV2."""
    from torchvision.models import efficientnet, mobilenet_v2, mobilenetv3

    wanted: dict[str, nn.Module] = {"mobilenet_v2": mobilenet_v2(num_classes=6, width_mult=factor)}
    for name in ("mobilenet_v3_small", "mobilenet_v3_large"):
        table, last = mobilenetv3._mobilenet_v3_conf(name, width_mult=factor)
        wanted[name] = mobilenetv3.MobileNetV3(table, last, num_classes=6)
    table, last = efficientnet._efficientnet_conf("efficientnet_b0", width_mult=factor, depth_mult=1.0)
    wanted["efficientnet_b0"] = efficientnet.EfficientNet(table, 0.2, last_channel=last, num_classes=6)
    for name, module in wanted.items():
        built = build_model(name, 6, channels=3, size=(64, 64), width_mult=factor)
        assert parameters(built.module) == parameters(module)
        again = ModelConfig.from_dict(json.loads(json.dumps(built.config.to_dict())))
        assert again.width_mult == factor
        assert parameters(build_from_config(again).module) == parameters(module)


def test_published_sizes_of_narrow_networks() -> None:
    """MobileNetV2 with 1,000 classes: millions of parameters as timm's benchmark tables list them."""
    for factor, millions in ((0.35, 1.68), (0.5, 1.97), (1.4, 6.11)):
        module = build_model("mobilenet_v2", 1000, channels=3, size=(224, 224), width_mult=factor).module
        assert sum(p.numel() for p in module.parameters()) / 1e6 == pytest.approx(millions, abs=0.006)


@pytest.mark.parametrize("name", [n for n, info in MODELS.items() if not info.scalable])
def test_networks_of_one_width_say_so(name: str) -> None:
    with pytest.raises(InputError, match="one width only"):
        build_model(name, 3, channels=3, size=(224, 224), width_mult=0.5)


def test_no_pretrained_weights_for_other_widths() -> None:
    with pytest.raises(InputError, match=r"no ImageNet weights for mobilenet_v2 --width 0\.5"):
        build_model("mobilenet_v2", 3, channels=3, size=(224, 224), width_mult=0.5, pretrained=True)
