"""Runs in the converter's environment: a run folder → a float TFLite network, uint8 NHWC in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from imago.export.deployable import Deployable
from imago.export.tflite_graph import Network
from imago.export.tflite_passes import simplify
from imago.train.run import Run


def work(job: Mapping[str, Any], tell: Callable[..., None]) -> dict[str, Any]:
    """job: ``run`` (folder), ``target`` (file to write). Returns operators and the converter's version."""
    torch.set_num_threads(max(1, int(job.get("threads", 1))))
    run = Run.load(Path(job["run"]))
    module = run.load_module(Path(job["run"]))
    deployable = Deployable(module, run.input.channels, run.mean, run.std, run.temperature).eval()
    tell(1)
    converted = convert(deployable, (run.input.height, run.input.width, run.input.channels))
    tell(1)
    network = Network(converted)
    simplify(network)
    Path(job["target"]).write_bytes(network.to_bytes())
    tell(1)
    import litert_torch

    return {"operators": network.kinds(), "converter": f"litert-torch {litert_torch.__version__}"}


def convert(deployable: torch.nn.Module, shape: tuple[int, int, int]) -> bytes:
    """The converter's own .tflite for an input uint8 ``(1, H, W, C)``."""
    import tempfile

    import litert_torch

    nhwc = litert_torch.to_channel_last_io(deployable, args=[0]).eval()
    converted = litert_torch.convert(nhwc, (torch.zeros((1, *shape), dtype=torch.uint8),))
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.tflite"
        converted.export(str(target))
        return target.read_bytes()
