"""What a model and its pictures must be before anything is quantised; ONNX and TFLite ask the same."""

from __future__ import annotations

from pathlib import Path

from imago.edge_runtime.errors import DataError, ModelError
from imago.edge_runtime.spec import ModelSpec
from imago.edge_runtime.types import U8
from imago.quantize.options import LEAST


def require_float(spec: ModelSpec | None, source: Path) -> ModelSpec:
    """The contract of ``source``. Raises ModelError where it carries none, or is small already."""
    if spec is None:
        raise ModelError(
            "{path} carries no contract; only models exported by imago can be quantised", path=source
        )
    if spec.precision != "fp32":
        raise ModelError(
            "{path} is {precision} already; give the fp32 file", path=source, precision=spec.precision
        )
    return spec


def check_pictures(images: U8, spec: ModelSpec) -> None:
    """Raise DataError unless ``images`` are uint8 ``(n, H, W, C)`` of the model's size."""
    wanted = (spec.input.height, spec.input.width, spec.input.channels)
    if images.ndim != 4 or images.shape[1:] != wanted or images.dtype.name != "uint8":
        raise DataError(
            "the pictures are {given} of {dtype}, expected n×{wanted} of uint8: "
            "prepare them as the model's contract says",
            given="×".join(map(str, images.shape)),
            dtype=images.dtype.name,
            wanted="×".join(map(str, wanted)),
        )


def require_enough(calibration: int, gate: int) -> None:
    """Raise DataError where there is too little to calibrate with, or nothing to measure on."""
    if calibration < LEAST:
        raise DataError("{n} training pictures are too few to calibrate with; give at least 8", n=calibration)
    if gate < 1:
        raise DataError("there are no pictures to measure the accuracy on; give a validation split")
