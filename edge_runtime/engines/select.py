"""Which engine opens which file."""

from __future__ import annotations

from pathlib import Path

from imago.edge_runtime.engines.base import Engine, check_file
from imago.edge_runtime.engines.tflite_file import is_tflite
from imago.edge_runtime.errors import ModelError

SUFFIXES = (".onnx", ".tflite")


def load_engine(model: Path | str, threads: int = 1, *, optimise: bool = True) -> Engine:
    """Load ``model`` with the engine for its content; ``optimise=False`` to look only.

    A .tflite says what it is in its bytes 4 to 8; ONNX has no such mark, so there the suffix counts.

    Raises ModelError where there is no engine for it, or it fails.
    """
    path = Path(model)
    if path.suffix.lower() not in SUFFIXES:
        raise ModelError(
            "{path} is not a model file that imago knows (expected a name that ends in .onnx or .tflite)",
            path=model,
        )
    check_file(path)
    with path.open("rb") as file:
        tflite = is_tflite(file.read(8))
    if tflite or path.suffix.lower() == ".tflite":
        from imago.edge_runtime.engines.litert import LiteRtEngine

        return LiteRtEngine(model, threads)
    from imago.edge_runtime.engines.ort import OrtEngine

    return OrtEngine(model, threads, optimise=optimise)
