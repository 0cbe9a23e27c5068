"""Which engine opens which file."""

from __future__ import annotations

from pathlib import Path

from imago.edge_runtime.engines.base import Engine
from imago.edge_runtime.errors import ModelError


def load_engine(model: Path | str, threads: int = 1, *, optimise: bool = True) -> Engine:
    """Load ``model`` with the engine for its suffix; ``optimise=False`` to look only.

    Raises ModelError where there is no engine for it, or it fails.
    """
    suffix = Path(model).suffix.lower()
    if suffix == ".onnx":
        from imago.edge_runtime.engines.ort import OrtEngine

        return OrtEngine(model, threads, optimise=optimise)
    if suffix == ".tflite":
        raise ModelError(
            "{path}: .tflite models are not supported yet in this version; use the .onnx", path=model
        )
    raise ModelError(
        "{path} is not a model file that imago knows (expected a name that ends in .onnx)", path=model
    )
