"""What a model file says about a picture, exactly as a board would: the contract's own preprocessing."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.imageio import read_image
from imago.edge_runtime.messages import language
from imago.edge_runtime.types import Frame
from imago.studio.workspace import Workspace

MAX_PIXELS = 50_000_000
KEPT = 3  # open models
TOP = 5
SUFFIXES = (".onnx", ".tflite")


class Answers:
    """Open classifiers by file; one answers at a time. Safe for threads."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._open: dict[tuple[str, int], Classifier] = {}

    def of_file(self, model: str, body: bytes) -> dict[str, Any]:
        """model: relative to the workspace. body: a picture file. Raises InputError, ModelError."""
        with self._lock:
            classifier = self._classifier(model)
            return self._say(classifier, read_image(body, classifier.spec.input, max_pixels=MAX_PIXELS))

    def of_pixels(self, model: str, rgba: bytes, width: int, height: int) -> dict[str, Any]:
        """rgba: ``width`` × ``height`` uint8 pixels as a canvas gives them."""
        if not 8 <= width <= 1280 or not 8 <= height <= 1280 or len(rgba) != 4 * width * height:
            raise InputError("the picture's bytes do not fit its size; reload the page")
        pixels = np.frombuffer(rgba, np.uint8).reshape(height, width, 4)[..., :3]
        with self._lock:
            return self._say(self._classifier(model), Frame(np.ascontiguousarray(pixels), "rgb"))

    def _say(self, classifier: Classifier, frame: Frame) -> dict[str, Any]:
        began = time.perf_counter()
        prediction = classifier.predict(frame)
        seconds = time.perf_counter() - began
        return {
            "ms": round(1000 * seconds, 3),
            "top": [
                {
                    "label": score.label,
                    "shown": classifier.spec.display(score.index, language()),
                    "confidence": round(score.confidence, 5),
                }
                for score in prediction.top(TOP)
            ],
        }

    def _classifier(self, model: str) -> Classifier:
        path = model_path(self._workspace, model)
        key = (str(path), path.stat().st_mtime_ns)
        if key not in self._open:
            while len(self._open) >= KEPT:
                self._open.pop(next(iter(self._open))).close()
            self._open[key] = Classifier(path)
        return self._open[key]


def model_path(workspace: Workspace, model: str) -> Path:
    """A model file of a run. Raises InputError for anything else."""
    path = workspace.inside(model)
    if path.suffix not in SUFFIXES or not path.is_file() or not path.is_relative_to(workspace.runs.resolve()):
        raise InputError("there is no model {name}; train one first", name=model)
    return path
