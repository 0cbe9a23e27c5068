"""Every file of ``compression.py``: ours by the shipped commands, the rivals' by the usual recipes.

The usual recipes are what a user would follow otherwise: ONNX Runtime's ``quantize_static`` and
ai-edge-quantizer with their defaults, and one-shot magnitude pruning by Torch-Pruning, fine-tuned on the
labels for as many epochs as ours. All see the same training pictures.
"""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from common import imago

CALIBRATION = 256
SEED = "1"
BF16 = "--precision bf16"


@dataclass(frozen=True)
class Subject:
    """One network on one data set. train, prune: flags of the commands. tuned: epochs of all retraining.
    teacher: network whose run, on the same data, the retraining learns from (none: the unpruned one)."""

    data: str
    model: str
    train: str
    prune: str
    tuned: int
    teacher: str = ""

    @property
    def name(self) -> str:
        """Folder of its files."""
        return f"{self.data}-{self.model}"


# Epochs are what the CPU budget allows. MACs: what the goals in speed and size need; chosen before any test
# picture was seen.
SUBJECTS = (
    Subject("mnist", "lenet5", "", "--size 24kB --precision int8 --epochs 20", 28),
    Subject(
        "cifar10_jpg",
        "mobilenet_v2",
        "--size 64 --stem 0 --epochs 12",
        "--macs 0.18 --epochs 20",
        28,
        "resnet18",
    ),
    Subject(
        "cifar10_jpg", "mobilenet_v3_small", "--size 64 --stem 0 --epochs 14", "--macs 0.5 --epochs 8", 12
    ),
    Subject("cifar10_jpg", "resnet18", f"--size 64 --stem 0 --epochs 8 {BF16}", "--macs 0.3 --epochs 4", 6),
    Subject("insects10", "mobilenet_v2", "--size 64 --stem 0 --epochs 12", "--macs 0.35 --epochs 6", 8),
    Subject(
        "insects10", "mobilenet_v3_small", "--size 64 --stem 0 --epochs 24", "--macs 0.5 --epochs 10", 14
    ),
    Subject("insects10", "resnet18", f"--size 64 --stem 0 --epochs 6 {BF16}", "--macs 0.3 --epochs 4", 6),
)

# file → (from, how); the order is the order of making
OURS = {
    "fp32.onnx": "export",
    "int8.onnx": "quantise",
    "pruned.onnx": "export",
    "pruned-int8.onnx": "quantise",
    "fp32.tflite": "export",
    "int8.tflite": "quantise",
    "pruned.tflite": "export",
    "pruned-int8.tflite": "quantise",
}
USUAL = {
    "usual-int8.onnx": "fp32.onnx",
    "usual-pruned.onnx": "",
    "usual-pruned-int8.onnx": "usual-pruned.onnx",
    "usual-int8.tflite": "fp32.tflite",
    "usual-pruned.tflite": "",
    "usual-pruned-int8.tflite": "usual-pruned.tflite",
}


class Maker:
    """Makes what is not there yet; every step can be interrupted and goes on."""

    def __init__(self, subject: Subject, data: Path, folder: Path) -> None:
        self.subject, self.data, self.folder = subject, data, folder

    def run(self) -> Path:
        """The trained run."""
        flags = ["--model", self.subject.model, *self.subject.train.split()]
        return self._trained(self.folder / "run", flags)

    def _trained(self, run: Path, flags: Sequence[str]) -> Path:
        """``imago train``: begun, resumed, or finished before."""
        if not (run / "metrics.json").exists():
            fresh = [str(self.data), "--out", str(run), *flags, "--seed", SEED, "--threads", "1"]
            imago("train", *(["--resume", str(run)] if (run / "run.json").exists() else fresh))
        return run

    def pruned(self) -> Path:
        """The pruned and retrained run."""
        run, source = self.folder / "pruned", self.run()
        if run.with_name("pruned.pruning").exists():
            imago("prune", "--resume", str(run))
        elif not (run / "metrics.json").exists():
            flags = self.subject.prune.split()
            if self.subject.teacher:
                flags += ["--teacher", str(self._teacher())]
            imago("prune", str(source), "-o", str(run), "--threads", "1", *flags)
        return run

    def _teacher(self) -> Path:
        """The teacher's run."""
        same = (s for s in SUBJECTS if (s.data, s.model) == (self.subject.data, self.subject.teacher))
        subject = next(same)
        return Maker(subject, self.data, self.folder.parent / subject.name).run()

    def usual_pruned(self) -> Path:
        """One-shot magnitude pruning to the MACs of ours, fine-tuned on the labels."""
        cut = self.folder / "usual-cut"
        if not (cut / "run.json").exists():
            shutil.rmtree(cut, ignore_errors=True)
            one_shot(self.run(), self.pruned(), cut)
        flags = ["--init", str(cut), "--epochs", str(self.subject.tuned), "--lr", str(own_lr(self.run()) / 2)]
        if BF16 in self.subject.train:
            flags += BF16.split()
        return self._trained(self.folder / "usual", flags)

    def make(self, name: str) -> Path:
        """One of ``OURS`` or ``USUAL``."""
        path = self.folder / name
        if path.exists():
            return path
        print(f"  {self.subject.name}: {name}", flush=True)
        if name in OURS:
            self._ours(name, path)
        else:
            self._usual(name, path)
        return path

    def _ours(self, name: str, path: Path) -> None:
        if OURS[name] == "export":
            run = self.pruned() if name.startswith("pruned") else self.run()
            export(run, path)
            return
        source = self.make(name.replace("pruned-int8", "pruned").replace("int8", "fp32"))
        imago("quantize", str(source), "--calibrate", str(self.data), "-o", str(path))

    def _usual(self, name: str, path: Path) -> None:
        if not USUAL[name]:
            export(self.usual_pruned(), path)
            return
        source = self.make(USUAL[name])
        (usual_onnx if path.suffix == ".onnx" else usual_tflite)(source, self.data, path)


def export(run: Path, path: Path) -> None:
    """``imago export``, in a folder of its own: it writes predict.py beside the model."""
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        imago("export", str(run), "-o", str(Path(place) / path.name))
        (Path(place) / path.name).rename(path)


def own_lr(run: Path) -> float:
    """The peak learning rate of a run."""
    from imago.train.run import Run

    return Run.load(run).config.peak_lr


def at_side(run: Path, side: int, target: Path) -> Path:
    """A copy of ``run`` for pictures of ``side`` px: the same weights, for its latency only."""
    from imago.edge_runtime.resample import resize
    from imago.train.run import Run, load_sample, save_sample

    if not (target / "run.json").exists():
        own = Run.load(run)
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run / "weights.safetensors", target / "weights.safetensors")
        images, labels = load_sample(run)
        save_sample(target, np.stack([resize(image, side, side) for image in images[:16]]), labels[:16])
        wide = replace(own.input, width=side, height=side)
        replace(own, input=wide, model={**own.model, "width": side, "height": side}).save(target)
    return target


def one_shot(run: Path, ours: Path, target: Path) -> None:
    """Torch-Pruning's magnitude pruner, one step, one ratio for all layers, to at most our MACs."""
    import torch
    import torch_pruning as tp

    from imago.train.checkpoint import save_tensors
    from imago.train.models.pruned import layout
    from imago.train.models.registry import ModelConfig, build_from_config
    from imago.train.models.summary import describe, totals
    from imago.train.run import Run

    own = Run.load(run)
    config = ModelConfig.from_dict(own.model)
    goal = totals(describe(ModelConfig.from_dict(Run.load(ours).model)))[1]
    low, high, found = 0.0, 0.95, None
    for _ in range(9):
        ratio = (low + high) / 2
        module = own.load_module(run)
        head = [m for m in module.modules() if isinstance(m, torch.nn.Linear)][-1]
        example = torch.zeros(1, config.channels, config.height, config.width)
        for p in module.parameters():
            p.requires_grad_(True)
        pruner = tp.pruner.MagnitudePruner(
            module,
            example,
            importance=tp.importance.MagnitudeImportance(p=2),
            pruning_ratio=ratio,
            ignored_layers=[head],
        )
        pruner.step()
        arch = layout(module, build_from_config(replace(config, arch={})).module)
        made = replace(config, arch=arch)
        if totals(describe(made))[1] <= goal:
            high, found = ratio, (made, module)
        else:
            low = ratio
    assert found is not None
    target.mkdir(parents=True)
    save_tensors(target / "weights.safetensors", found[1].state_dict())
    shutil.copyfile(run / "sample.safetensors", target / "sample.safetensors")
    facts: dict[str, Any] = {"method": "one-shot magnitude (Torch-Pruning)"}
    replace(own, model=found[0].to_dict(), results=(), pruning=facts, temperature=1.0).save(target)


def training_pictures(data: Path, model: Path) -> np.ndarray:
    """Calibration pictures, uint8 ``(n, H, W, C)`` at the model's size."""
    from imago.edge_runtime.classifier import Classifier
    from imago.quantize.calibration import pictures
    from imago.train.data.layouts import load_dataset

    with Classifier(model) as classifier:
        spec = classifier.spec
    return pictures(load_dataset(data), "train", spec, CALIBRATION).images


def usual_onnx(source: Path, data: Path, path: Path) -> None:
    """``quantize_static`` as its documentation shows it: defaults, but for the pictures."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            images = training_pictures(data, source)
            self.rows: Iterator[Any] = iter(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))

        def get_next(self) -> dict[str, Any] | None:
            row = next(self.rows, None)
            return None if row is None else {name: row[None]}

    model = onnx.load(source)
    name = model.graph.input[0].name
    logging.disable(logging.WARNING)
    with contextlib.redirect_stdout(io.StringIO()):
        quantize_static(model, path, Reader())
    logging.disable(logging.NOTSET)
    made = onnx.load(path)
    if not made.metadata_props:  # the contract, which the quantiser drops
        made.metadata_props.extend(model.metadata_props)
        onnx.save(made, path)


def usual_tflite(source: Path, data: Path, path: Path) -> None:
    """ai-edge-quantizer's ``static_wi8_ai8`` recipe, in the converter's environment."""
    from imago.edge_runtime.classifier import Classifier
    from imago.edge_runtime.engines.tflite_file import network_of
    from imago.export.converter_env import ConverterEnv
    from imago.export.tflite_export import write_model
    from imago.train.data.places import cache_root

    with Classifier(source) as classifier:
        spec = replace(classifier.spec, selftest=None)
    images = training_pictures(data, source)
    python = ConverterEnv.under(cache_root()).python
    with tempfile.TemporaryDirectory() as place:
        network, pictures, made = (Path(place) / name for name in ("in.tflite", "pictures.npy", "out.tflite"))
        network.write_bytes(network_of(source))
        np.save(pictures, images, allow_pickle=False)
        script = Path(__file__).with_name("usual_tflite.py")
        subprocess.run([python, "-P", script, network, pictures, made], check=True, capture_output=True)
        write_model(made.read_bytes(), spec, images, path)
