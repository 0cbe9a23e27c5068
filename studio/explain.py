"""What a model looks at and what its layers see, asked of the very file that ships. No torch here.

Occlusion (Zeiler & Fergus 2014): a grey square wanders over the picture; where the answer suffers, the
network was looking. Feature maps: the same graph with its inner tensors as further outputs.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.types import F32, U8, Frame

STEPS = 14  # positions of the square on either side
SHARE = 5  # the square's side is so many times smaller than the picture's
MAX_CHANNELS, MAX_LAYERS, MAX_ELEMENTS = 32, 400, 4_000_000
SHOWN_OPS = frozenset({"Conv", "MaxPool", "AveragePool", "Relu", "Add", "Concat", "HardSwish", "Clip"})
TILE = 72  # least side of a map on the sheet, in pixels


@dataclass(frozen=True, slots=True)
class Occlusion:
    """picture: what the network saw, uint8 ``(H, W, 3)``. heat: how much of the answer's probability each
    place is worth, float32 ``(H, W)`` (negative: hiding it helps). label, confidence: the answer itself.
    """

    picture: U8
    heat: F32
    index: int
    label: str
    confidence: float

    def overlay(self) -> bytes:
        """PNG: the picture, dimmed where the network does not look."""
        strongest = float(self.heat.max())
        weight = np.clip(self.heat / strongest, 0, 1) if strongest > 0 else np.zeros_like(self.heat)
        grey = self.picture.mean(2, keepdims=True)
        dim = 0.35 * grey + 0.65 * 247
        light = weight[..., None] ** 0.8
        warm = np.array([226, 120, 10], np.float32)
        shown = (1 - light) * dim + light * (0.72 * self.picture + 0.28 * warm)
        return png(enlarge(np.clip(shown, 0, 255).astype(np.uint8), 320))


def occlusion(classifier: Classifier, frame: Frame) -> Occlusion:
    """Hide one place after the other and ask again: about 200 inferences."""
    tensor = np.array(classifier.prepare(frame))
    plain = classifier.engine.run(tensor)
    index = int(plain.argmax())
    chw = classifier.spec.input.layout == "nchw"
    axes = (2, 3) if chw else (1, 2)
    height, width = (tensor.shape[axis] for axis in axes)
    grey = tensor.mean(axis=axes, keepdims=True).astype(tensor.dtype)
    total = np.zeros((height, width), np.float64)
    seen = np.zeros((height, width), np.float64)
    tall, wide = max(2, height // SHARE), max(2, width // SHARE)
    for top in np.unique(np.linspace(0, height - tall, STEPS).astype(int)):
        for left in np.unique(np.linspace(0, width - wide, STEPS).astype(int)):
            place = (slice(top, top + tall), slice(left, left + wide))
            hidden = tensor.copy()
            where = (slice(None), slice(None), *place) if chw else (slice(None), *place, slice(None))
            hidden[where] = grey
            total[place] += float(plain[index] - classifier.engine.run(hidden)[index])
            seen[place] += 1
    heat = (total / np.maximum(seen, 1)).astype(np.float32)
    return Occlusion(picture_of(tensor, chw), heat, index, classifier.spec.labels[index], float(plain[index]))


def picture_of(tensor: npt.NDArray[np.generic], chw: bool) -> U8:
    """The network's input as a colour picture ``(H, W, 3)``."""
    plain = np.asarray(tensor[0])
    image = plain.transpose(1, 2, 0) if chw else plain
    return np.ascontiguousarray(np.repeat(image, 3, 2) if image.shape[2] == 1 else image).astype(np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """name, kind: of the graph's node. maps: float32 ``(channels, H, W)``."""

    name: str
    kind: str
    maps: F32

    @property
    def shape(self) -> str:
        """``6@28×28``, as the lesson writes it."""
        channels, height, width = self.maps.shape
        return f"{channels}@{height}×{width}"

    def sheet(self) -> bytes:
        """PNG with up to 32 channels side by side, each stretched to its own range."""
        shown = self.maps[:MAX_CHANNELS]
        columns = min(8, len(shown))
        rows = math.ceil(len(shown) / columns)
        times = max(1, math.ceil(TILE / max(shown.shape[1:])))
        height, width = shown.shape[1] * times + 4, shown.shape[2] * times + 4
        sheet = np.full((rows * height, columns * width, 3), 255, np.uint8)
        for number, one in enumerate(shown):
            top, left = (number // columns) * height + 2, (number % columns) * width + 2
            coloured = _coloured(one).repeat(times, 0).repeat(times, 1)
            sheet[top : top + coloured.shape[0], left : left + coloured.shape[1]] = coloured
        return png(sheet)


def feature_maps(model: Path, tensor: npt.NDArray[np.generic]) -> list[Layer]:
    """The maps of every layer that has some, for one input tensor. ONNX files only: raises InputError."""
    if model.suffix != ".onnx":
        raise InputError("feature maps are read from ONNX files; choose the run's .onnx model")
    import onnx
    import onnxruntime

    graph = onnx.load(str(model))
    wanted = [node for node in graph.graph.node if node.op_type in SHOWN_OPS and node.output]
    wanted = wanted[:: max(1, math.ceil(len(wanted) / MAX_LAYERS))]
    known = {value.name for value in graph.graph.output}
    names = [node.output[0] for node in wanted if node.output[0] not in known]
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    values = [np.asarray(v) for v in session.run(names, {session.get_inputs()[0].name: tensor})]
    kinds = {node.output[0]: node.op_type for node in wanted}
    return [
        Layer(name, kinds[name], value[0].astype(np.float32))
        for name, value in zip(names, values, strict=True)
        if _shows(value)
    ]


def _shows(value: npt.NDArray[np.generic]) -> bool:
    return value.ndim == 4 and min(value.shape[2:]) > 1 and value.size <= MAX_ELEMENTS


def _coloured(one: F32) -> U8:
    """Dark green for little, through leaf green, to pale yellow for much."""
    low, high = float(one.min()), float(one.max())
    share = (one - low) / (high - low) if high > low else np.zeros_like(one)
    stops = np.array([[8, 36, 32], [13, 92, 77], [84, 160, 96], [214, 205, 96], [255, 250, 214]], np.float32)
    at = share * (len(stops) - 1)
    below = np.minimum(at.astype(int), len(stops) - 2)
    part = (at - below)[..., None]
    return np.asarray((1 - part) * stops[below] + part * stops[below + 1], np.uint8)


def enlarge(image: U8, least: int) -> U8:
    """Whole pixels, so that a 32 px picture shows what the network got."""
    times = max(1, math.ceil(least / max(image.shape[:2])))
    return image.repeat(times, 0).repeat(times, 1)


def png(image: U8) -> bytes:
    """A PNG file."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(out, "PNG")
    return out.getvalue()


def data_url(body: bytes, kind: str = "image/png") -> str:
    """For an ``img`` element."""
    import base64

    return f"data:{kind};base64,{base64.b64encode(body).decode('ascii')}"


def spread(layers: Sequence[Layer], count: int) -> list[Layer]:
    """At most ``count`` of them, evenly over the depth."""
    if not layers:
        return []
    picked = np.unique(np.linspace(0, len(layers) - 1, min(count, len(layers))).astype(int)).tolist()
    return [layers[index] for index in picked]
