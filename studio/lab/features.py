"""What every layer of a model file makes of a picture: the file that ships, its inner values read out.

Needs no torch: the inner values become outputs of a copy of the graph, and ONNX Runtime computes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.engines.ort import session_options
from imago.edge_runtime.errors import ImagoError, InputError
from imago.edge_runtime.preprocess import Preprocessor
from imago.edge_runtime.spec import ModelSpec
from imago.edge_runtime.types import F32, Frame

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
    ``(h, w, 3)``. left_out: operators beyond the most that are shown."""

    spec: ModelSpec
    input: npt.NDArray[np.uint8]
    stages: tuple[Stage, ...]
    probabilities: F32
    left_out: int = 0


def walk(model: Path, frame: Frame) -> Walk:
    """Run ``frame`` through the ONNX file ``model``, in float. Raises InputError, ModelError."""
    import onnx

    if model.suffix.lower() != ".onnx":
        raise InputError("{path}: feature maps are shown for ONNX files", path=model)
    with Classifier(model) as classifier:  # all that can be wrong with a file is found here
        spec = classifier.spec
        probabilities = classifier.predict(frame).probabilities
    proto = onnx.load(model)
    names = _readable(proto)
    del proto.graph.output[:]
    proto.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(name) for name, _ in names[:MOST_STAGES]
    )
    preprocessor = Preprocessor(spec.input)
    found = _run(proto.SerializeToString(), preprocessor.tensor(frame))
    stages = tuple(
        Stage(kind, np.asarray(value[0], np.float32)) for (_, kind), value in zip(names, found, strict=False)
    )
    pixels = preprocessor.pixels(frame)
    plain = pixels[:, :, 0] if spec.input.channels == 1 else pixels
    return Walk(spec, plain, stages, probabilities, max(0, len(names) - MOST_STAGES))


def _readable(proto: Any) -> list[tuple[str, str]]:
    """``(value, operator)`` of what can be shown, in the order of the graph."""
    return [(node.output[0], node.op_type) for node in proto.graph.node if node.op_type in KINDS]


def _run(model: bytes, tensor: npt.NDArray[np.generic]) -> list[npt.NDArray[np.generic]]:
    from importlib import import_module

    onnxruntime: Any = import_module("onnxruntime")
    try:
        session = onnxruntime.InferenceSession(
            model, session_options(onnxruntime, 1, optimise=False), providers=["CPUExecutionProvider"]
        )
        values: list[npt.NDArray[np.generic]] = session.run(None, {session.get_inputs()[0].name: tensor})
    except ImagoError:
        raise
    except Exception as error:
        raise InputError(
            "this model's layers cannot be shown ({reason})", reason=str(error).splitlines()[0][:120]
        ) from error
    return values
