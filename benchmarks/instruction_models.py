"""The files whose instructions are held against an expectation: random weights, real export and quantiser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from common import random_run

NETWORKS = {"lenet5-32": 1, "mobilenet_v3_small-64": 3, "mobilenet_v3_small-96": 3, "mobilenet_v2-64": 3}
CLASSES, PICTURES = 10, 16


def make_models(folder: Path, only: str = "") -> Iterator[tuple[Path, Mapping[str, str]]]:
    """fp32 and int8 files in ONNX, and in TFLite where the converter is; with each what it depends on."""
    import torch

    from imago.edge_runtime.errors import MissingDependency
    from imago.workflow.steps import export_run

    made = {"torch": torch.__version__.split("+")[0]}
    for name, channels in NETWORKS.items():
        if not name.startswith(only):
            continue
        network, side = name.rsplit("-", 1)
        run = random_run(folder / name, network, int(side), channels, CLASSES)
        photos = _photos(folder / f"{name}-photos", int(side), channels)
        for suffix in ("onnx", "tflite"):
            target = folder / f"{name}.{suffix}"
            try:
                model = export_run(run, target, overwrite=True).model
            except MissingDependency as error:
                print(error)
                continue
            yield model, made
            yield model.with_name(f"{name}-int8.{suffix}"), {**made, "scheme": _quantised(model, photos)}


def _quantised(model: Path, photos: Path) -> str:
    """Make the int8 version beside ``model``; how it was made (on random weights that is half chance)."""
    from imago.quantize.session import QuantiseOptions, quantise_file
    from imago.quantize.tflite import quantise_tflite

    options = QuantiseOptions(calibration=32, runs=5, precision="int8", mixed=False)
    target = model.with_name(f"{model.stem}-int8{model.suffix}")
    if model.suffix == ".tflite":
        return quantise_tflite(model, photos, target, options, "static").scheme
    return quantise_file(model, photos, target, options).scheme


def _photos(folder: Path, side: int, channels: int) -> Path:
    """Noise in a folder for every class."""
    from PIL import Image

    rng = np.random.default_rng(0)
    shape = (side, side) if channels == 1 else (side, side, 3)
    for number in range(CLASSES):
        place = folder / f"class {number}"
        place.mkdir(parents=True)
        for k in range(PICTURES):
            Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(place / f"{k}.png")
    return folder
