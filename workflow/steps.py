"""Steps that join two rooms: a training run becomes a model file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imago.edge_runtime.errors import StorageError
from imago.edge_runtime.files import replacing
from imago.export.onnx_export import Deployable, export_onnx
from imago.export.predict_script import predict_script
from imago.export.verify import Verification
from imago.train.run import Run, load_sample


@dataclass(frozen=True, slots=True)
class Exported:
    """An exported model file and how it compared with the trained network."""

    model: Path
    script: Path
    verification: Verification
    bytes: int


def export_run(folder: Path, target: Path | None = None, *, overwrite: bool = False) -> Exported:
    """Export the run in ``folder`` to ``target`` (default: ``<run>/<name>.onnx``), with ``predict.py``.

    Raises StorageError where the target exists and ``overwrite`` is not set, GateError where the file
    disagrees with the network.
    """
    run = Run.load(folder)
    target = target or folder / f"{_name(folder)}.onnx"
    script = target.with_name("predict.py")
    for path in (target, script):
        if path.exists() and not overwrite:
            raise StorageError("{path} exists already; add --force to replace it", path=path)
    images, _ = load_sample(folder)
    deployable = Deployable(run.load_module(folder), run.input.channels, run.mean, run.std, run.temperature)
    verification = export_onnx(deployable, run.spec(_name(folder)), images, target)
    with replacing(script) as temporary:
        temporary.write_text(predict_script(target.name), encoding="utf-8")
    return Exported(target, script, verification, target.stat().st_size)


def _name(folder: Path) -> str:
    return folder.resolve().name
