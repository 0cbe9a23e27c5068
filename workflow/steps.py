"""Steps that join two rooms: a training run becomes a model file."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from imago.edge_runtime.errors import InputError, StorageError
from imago.edge_runtime.files import replacing
from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import Progress
from imago.edge_runtime.spec import ModelSpec
from imago.edge_runtime.types import U8
from imago.export.converter_env import ConverterEnv
from imago.export.deployable import Deployable, torch_probabilities
from imago.export.predict_script import predict_script
from imago.export.verify import Verification
from imago.train.data.places import cache_root
from imago.train.run import Run, load_sample

Format = Literal["onnx", "tflite"]
CONVERSION_STEPS = 3


@dataclass(frozen=True, slots=True)
class Exported:
    """An exported model file and how it compared with the trained network."""

    model: Path
    script: Path
    verification: Verification
    bytes: int


def export_run(
    folder: Path,
    target: Path | None = None,
    *,
    overwrite: bool = False,
    format: Format | None = None,
) -> Exported:
    """Export the run in ``folder`` to ``target`` (default: ``<run>/<name>.onnx``), with ``predict.py``.

    format: by default what ``target`` ends in, else onnx. tflite needs the converter's environment.

    Raises StorageError where the target exists and ``overwrite`` is not set, GateError where the file
    disagrees with the network, MissingDependency without the converter.
    """
    run = Run.load(folder)
    format = format or ("tflite" if target is not None and target.suffix.lower() == ".tflite" else "onnx")
    target = target or folder / f"{_name(folder)}.{format}"
    if target.suffix.lower() != f".{format}":
        raise InputError(
            "{path} does not fit --format {format}; end it in .{format}", path=target, format=format
        )
    script = target.with_name("predict.py")
    for path in (target, script):
        if path.exists() and not overwrite:
            raise StorageError("{path} exists already; add --force to replace it", path=path)
    images, _ = load_sample(folder)
    deployable = Deployable(run.load_module(folder), run.input.channels, run.mean, run.std, run.temperature)
    export = _export_tflite if format == "tflite" else _export_onnx
    verification = export(folder, deployable.eval(), run.spec(_name(folder)), images, target)
    with replacing(script) as temporary:
        temporary.write_text(predict_script(target.name), encoding="utf-8")
    return Exported(target, script, verification, target.stat().st_size)


def _export_onnx(
    folder: Path, deployable: Deployable, spec: ModelSpec, images: U8, target: Path
) -> Verification:
    from imago.export.onnx_export import export_onnx

    return export_onnx(deployable, spec, images, target)


def _export_tflite(
    folder: Path, deployable: Deployable, spec: ModelSpec, images: U8, target: Path
) -> Verification:
    from imago.export.tflite_export import export_tflite

    env = ConverterEnv.under(cache_root())
    env.require()
    with tempfile.TemporaryDirectory() as place, Progress(CONVERSION_STEPS, tr("converting")) as bar:
        network = Path(place) / "network.tflite"
        job = {"run": str(folder.absolute()), "target": str(network), "threads": torch.get_num_threads()}
        done = env.call("imago.workflow.tflite_worker", job, bar.advance)
        data = network.read_bytes()
    facts = {**spec.provenance, "converter": done["converter"]}
    wanted = torch_probabilities(deployable, images)
    return export_tflite(data, wanted, replace(spec, provenance=facts), images, target)


def _name(folder: Path) -> str:
    return folder.resolve().name
