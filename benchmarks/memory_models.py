"""The models of ``benchmarks/memory.py``: random weights (memory depends on none of them), real exports."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import random_run


def make_models(folder: Path) -> dict[str, Path]:
    """LeNet-5 and MobileNetV2 int8 for every engine that can be had here, by name; once per folder."""
    from imago.edge_runtime.errors import MissingDependency
    from imago.workflow.steps import export_run

    names = ("lenet5.onnx", "lenet5.tflite", "mobilenet_v2-int8.onnx", "mobilenet_v2-int8.tflite")
    paths = {name: folder / name for name in names}
    lenet, mobilenet = folder / "lenet5-run", folder / "mobilenet_v2-run"
    if not paths["mobilenet_v2-int8.onnx"].exists():
        random_run(lenet, "lenet5", 32, 1)
        export_run(lenet, paths["lenet5.onnx"], overwrite=True)
        random_run(mobilenet, "mobilenet_v2", 224)
        source = export_run(mobilenet, folder / "mobilenet_v2.onnx", overwrite=True).model
        _int8_onnx(source, mobilenet, paths["mobilenet_v2-int8.onnx"])
    try:
        if not paths["mobilenet_v2-int8.tflite"].exists():
            export_run(lenet, paths["lenet5.tflite"], overwrite=True)
            source = export_run(mobilenet, folder / "mobilenet_v2.tflite", overwrite=True).model
            _int8_tflite(source, mobilenet, paths["mobilenet_v2-int8.tflite"])
    except MissingDependency as error:
        print(error, file=sys.stderr)
    return {name: path for name, path in paths.items() if path.exists()}


def _int8_onnx(source: Path, run: Path, target: Path) -> None:
    """Ranges from a few noisy pictures: memory does not depend on how good they are."""
    from imago.edge_runtime.contract import read_spec
    from imago.export.onnx_export import with_self_test, write_model
    from imago.quantize.ptq import quantise
    from imago.train.run import load_sample

    images = load_sample(run)[0][:8]
    rows = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    model = quantise(source, rows[:4], rows[4:]).model
    write_model(model, with_self_test(model, read_spec(source), images), target)


def _int8_tflite(source: Path, run: Path, target: Path) -> None:
    from imago.edge_runtime.contract import read_spec
    from imago.edge_runtime.engines.tflite_file import network_of
    from imago.export.converter_env import ConverterEnv
    from imago.export.tflite_export import write_model
    from imago.train.data.places import cache_root
    from imago.train.run import load_sample

    images, place = load_sample(run)[0], target.parent
    job = {key: str(place / f"{key}.npy") for key in ("pictures", "held_out")}
    for path in job.values():
        np.save(path, images[:8])
    (place / "network.tflite").write_bytes(network_of(source))
    job |= {"source": str(place / "network.tflite"), "target": str(place / "bare.tflite"), "scheme": "static"}
    ConverterEnv.under(cache_root()).call("imago.quantize.tflite_worker", job)
    spec = replace(read_spec(source), precision="int8")
    write_model((place / "bare.tflite").read_bytes(), spec, images, target)
