"""The networks that ``--model`` knows, as plain facts. No torch here: a page can list them at once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.types import Color
from imago.train.models.config import WIDTH_MULT

TIMM = "timm:"
LEAST_MAP = 4
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# −1..1: LeNet learns from digits and from photos alike, so nothing of one data set is built in.
HALF = (0.5,)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One network.

    width, height, channels, color: its own input. description: one line, key of the message catalogue.
    min_side: smallest input side in pixels that leaves a feature map. pretrained: whether ImageNet weights
    are published for it. builder: name of the torchvision constructor ("" for our own). mean, std: of 0..1
    pixels, one value for all channels or three for r, g, b. stride: how much smaller the last feature
    map is than the input. halvings: the modules that shrink first, from the input (see ``stem_for``).
    scalable: whether it has a width multiplier.
    """

    name: str
    family: str
    description: str
    width: int = 224
    height: int = 224
    channels: int = 3
    color: Color = "rgb"
    min_side: int = 32
    pretrained: bool = True
    builder: str = ""
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    stride: int = 32
    halvings: tuple[str, ...] = ()
    scalable: bool = False

    @property
    def input(self) -> tuple[int, int, int, Color]:
        """``(width, height, channels, color)``."""
        return self.width, self.height, self.channels, self.color


_ALL = (
    ModelInfo(
        "lenet5",
        "LeNet",
        "LeCun 1998, the lesson's network: 7 layers, grey, tiny and very fast",
        width=32,
        height=32,
        channels=1,
        color="gray",
        min_side=16,
        pretrained=False,
        mean=HALF,
        std=HALF,
        stride=4,
    ),
    ModelInfo(
        "mobilenet_v3_small",
        "MobileNet",
        "made for phones and small boards: first choice for photos on a Raspberry Pi",
        builder="mobilenet_v3_small",
        scalable=True,
        halvings=("features.0.0", "features.1.block.0.0"),
    ),
    ModelInfo(
        "mobilenet_v3_large",
        "MobileNet",
        "four times the work of mobilenet_v3_small, more accurate",
        builder="mobilenet_v3_large",
        scalable=True,
        halvings=("features.0.0", "features.2.block.1.0"),
    ),
    ModelInfo(
        "mobilenet_v2",
        "MobileNet",
        "inverted residuals and plain ReLU6, the classic of small boards",
        builder="mobilenet_v2",
        scalable=True,
        halvings=("features.0.0", "features.2.conv.1.0"),
    ),
    ModelInfo(
        "shufflenet_v2",
        "ShuffleNet",
        "channel shuffle instead of wide 1×1 convolutions: light on memory",
        builder="shufflenet_v2_x1_0",
        halvings=("conv1.0", "maxpool"),
    ),
    ModelInfo(
        "squeezenet",
        "SqueezeNet",
        "fire modules, version 1.1: a very small file",
        builder="squeezenet1_1",
        stride=16,
        halvings=("features.0", "features.2"),
    ),
    ModelInfo(
        "efficientnet_b0",
        "EfficientNet",
        "balanced depth and width with squeeze-and-excitation: accurate for its size",
        builder="efficientnet_b0",
        scalable=True,
        halvings=("features.0.0", "features.2.0.block.1.0"),
    ),
    ModelInfo(
        "resnet18",
        "ResNet",
        "residual connections, 18 layers: learns easily, the usual yardstick",
        builder="resnet18",
        halvings=("conv1", "maxpool"),
    ),
    ModelInfo(
        "resnet50",
        "ResNet",
        "residual connections, 50 layers: accurate, heavy for a board",
        builder="resnet50",
        halvings=("conv1", "maxpool"),
    ),
    ModelInfo(
        "googlenet",
        "Inception",
        "parallel kernels of several sizes (Inception v1)",
        builder="googlenet",
        mean=HALF,
        std=HALF,
        halvings=("conv1.conv", "maxpool1"),
    ),
    ModelInfo(
        "inception_v3",
        "Inception",
        "Inception with factorised kernels, 299 px: accurate, heavy for a board",
        width=299,
        height=299,
        min_side=75,
        builder="inception_v3",
        mean=HALF,
        std=HALF,
        halvings=("Conv2d_1a_3x3.conv",),
    ),
    ModelInfo(
        "alexnet",
        "AlexNet",
        "the winner of 2012, of historical interest: 60 million weights",
        min_side=63,
        builder="alexnet",
        halvings=("features.0", "features.0"),
    ),
)

MODELS: Mapping[str, ModelInfo] = MappingProxyType({info.name: info for info in _ALL})


def model_info(name: str) -> ModelInfo:
    """The entry of a network that imago names itself. Raises InputError with the nearest names."""
    if name in MODELS:
        return MODELS[name]
    near = difflib.get_close_matches(name.lower(), MODELS, n=3, cutoff=0.5)
    raise InputError(
        "no network is called {name}; nearest: {near} (imago models lists all; timm:NAME is for timm)",
        name=name,
        near=", ".join(near or MODELS),
    )


def check_side(info: ModelInfo, width: int, height: int) -> None:
    """Raises InputError where the input is too small for the network's layers."""
    if min(width, height) < info.min_side:
        raise InputError(
            "{model} needs inputs of at least {least}×{least} pixels, not {width}×{height}; "
            "give a larger --size or choose another --model",
            model=info.name,
            least=info.min_side,
            width=width,
            height=height,
        )


def check_width(name: str, width_mult: float) -> None:
    """Raises InputError where the network has no width multiplier and one is given, and for unusable ones."""
    low, high = WIDTH_MULT
    if not low <= width_mult <= high:
        raise InputError(
            "--{name} is {value}; expected {low} to {high}",
            name="width",
            value=width_mult,
            low=low,
            high=high,
        )
    if width_mult != 1 and (name.startswith(TIMM) or not model_info(name).scalable):
        raise InputError(
            "--width {width}: {model} comes in one width only; networks with a choice: {names}",
            width=width_mult,
            model=name,
            names=", ".join(info.name for info in MODELS.values() if info.scalable),
        )


def stem_for(info: ModelInfo, width: int, height: int) -> int:
    """How many of the first halvings to take out, so that a last feature map of 4×4 pixels is left.

    These networks were drawn for 224 px and end in a map 32 times smaller: 7×7. At 64 px that would be
    2×2, at 32 px a single pixel. Rule: as long as the shorter side of the last map is below 4 pixels,
    the next halving from the input is taken out, at most two; for ResNet at 32 px that is what He et al.
    (2016) did for CIFAR. So 128 px and more: 0; 64 to 127: 1; below 64: 2 (stride 32). Never with ImageNet
    weights, whose filters expect the original scale. The weights' shapes do not depend on it.
    """
    stem, side = 0, min(width, height) // info.stride
    while side < LEAST_MAP and stem < len(info.halvings):
        stem, side = stem + 1, min(width, height) * 2 ** (stem + 1) // info.stride
    return stem
