"""What every layer of a model file makes of a picture: the file that ships, its inner values read out.

Needs no torch: the inner values become outputs of a copy of the graph, and ONNX Runtime computes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.preprocess import Preprocessor
from imago.edge_runtime.spec import ModelSpec
from imago.edge_runtime.types import F32, Frame
from imago.studio.explain import inner_values

MOST_STAGES = 60
KINDS = (
    "Conv",
    "Relu",
    "Clip",
    "HardSwish",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "Add",
    "Concat",
    "Gemm",
    "BatchNormalization",
    "Softmax",
)


@dataclass(frozen=True, eq=False)
class Stage:
    """One operator's output. kind: ONNX's name of the operator. values: ``(channels, height, width)`` or
    ``(units,)``."""

    kind: str
    values: F32

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the values."""
        return self.values.shape


@dataclass(frozen=True, eq=False)
class Walk:
    """A picture's way through a model. input: the picture as the model gets it, uint8 ``(h, w)`` or
    ``(h, w, 3)``. stages: of a deep network an even choice."""

    spec: ModelSpec
    input: npt.NDArray[np.uint8]
    stages: tuple[Stage, ...]
    probabilities: F32


def walk(model: Path, frame: Frame) -> Walk:
    """Run ``frame`` through the ONNX file ``model``, in float. Raises InputError, ModelError."""
    with Classifier(model) as classifier:  # all that can be wrong with a file is found here
        spec = classifier.spec
        probabilities = classifier.predict(frame).probabilities
    preprocessor = Preprocessor(spec.input)
    found = inner_values(model, preprocessor.tensor(frame), KINDS, MOST_STAGES)
    stages = tuple(Stage(kind, np.asarray(value[0], np.float32)) for _, kind, value in found)
    pixels = preprocessor.pixels(frame)
    return Walk(spec, pixels[:, :, 0] if spec.input.channels == 1 else pixels, stages, probabilities)
