"""What an engine is: one model file, loaded, that turns one input tensor into one row of numbers.

onnxruntime (``ort.py``) and LiteRT (``litert.py``) stand beside each other and are chosen in ``select.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.errors import ModelError
from imago.edge_runtime.types import F32

Tensor = npt.NDArray[np.generic]


class Engine(Protocol):
    """A loaded model with one picture in and one row of class values out.

    name, version: of the library that computes. threads: how many it was told to use.
    input_shape: as the file says it; None where the file leaves a side open.
    input_dtype: numpy's name. classes: length of the output row, None where the file leaves it open.
    output_step: difference between neighbouring output values where they are quantised; 0 for floats.
    outputs: how many outputs the file has (the first is read). metadata: what the file carries in text.
    """

    name: str
    version: str
    threads: int
    input_shape: tuple[int | None, ...]
    input_dtype: str
    classes: int | None
    output_step: float
    outputs: int
    metadata: Mapping[str, str]

    def run(self, tensor: Tensor) -> F32:
        """Raw output, float32 ``(classes,)``, in memory of its own, for one tensor ``input_shape``."""
        ...

    def close(self) -> None:
        """Free the model; harmless when called twice."""
        ...


def check_file(path: Path) -> None:
    """Raise ModelError, in one line, where ``path`` is not a file with something in it."""
    if path.is_dir():
        raise ModelError("{path} is a folder; expected a model file (.onnx or .tflite)", path=path)
    if not path.is_file():
        raise ModelError("no such model file: {path}", path=path)
    if path.stat().st_size == 0:
        raise ModelError("{path} is empty; copy or export the model again", path=path)
