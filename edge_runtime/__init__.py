"""Everything that runs on the board. ``from imago.edge_runtime import Classifier`` is the way in.

The names below are imported when they are asked for, so that importing one light module of this room
(errors, messages) loads nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imago.edge_runtime.bench import BenchOptions, BenchReport
    from imago.edge_runtime.cameras.base import open_source
    from imago.edge_runtime.classifier import Classifier
    from imago.edge_runtime.errors import ImagoError
    from imago.edge_runtime.foreign import ForeignOptions, foreign_spec
    from imago.edge_runtime.imageio import read_image
    from imago.edge_runtime.loop import Loop, LoopOptions, RunStats
    from imago.edge_runtime.spec import InputSpec, ModelSpec
    from imago.edge_runtime.types import Frame, Prediction

_HOME = {
    "BenchOptions": "bench",
    "BenchReport": "bench",
    "Classifier": "classifier",
    "ForeignOptions": "foreign",
    "Frame": "types",
    "ImagoError": "errors",
    "InputSpec": "spec",
    "Loop": "loop",
    "LoopOptions": "loop",
    "ModelSpec": "spec",
    "Prediction": "types",
    "RunStats": "loop",
    "foreign_spec": "foreign",
    "open_source": "cameras.base",
    "read_image": "imageio",
}

__all__ = [
    "BenchOptions",
    "BenchReport",
    "Classifier",
    "ForeignOptions",
    "Frame",
    "ImagoError",
    "InputSpec",
    "Loop",
    "LoopOptions",
    "ModelSpec",
    "Prediction",
    "RunStats",
    "foreign_spec",
    "open_source",
    "read_image",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{home}"), name)
