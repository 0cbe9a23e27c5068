"""A run folder: everything that later steps need, self-describing and without the data set beside it.

run.json              configuration, network, input, classes, data facts, versions
weights.safetensors   the network to keep
sample.safetensors    a few validation pictures at training size (export verifies on them)
metrics.jsonl         one line per epoch        metrics.json   final figures
report.html, *.png    pictures                  checkpoint.safetensors   for --resume
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.files import write_json
from imago.edge_runtime.spec import InputSpec, ModelSpec
from imago.edge_runtime.types import U8
from imago.train.config import TrainConfig

if TYPE_CHECKING:
    from torch import nn

RUN_FILE = "run.json"
SAMPLE = "sample.safetensors"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Run:
    """What ``run.json`` says. mean, std: of 0..1 pixels, per channel or one for all.

    model: ``ModelConfig`` as a dict. data: root, name, layout, fingerprint, counts, generated, notes.
    temperature: divides the logits at export, so that confidences are calibrated (Guo et al. 2017).
    results: accuracy figures ``{split, n, accuracy, …}`` for the contract. lineage: by role ("init",
    "teacher") the facts on the run that this one came from (``lineage.py``).
    """

    config: TrainConfig
    model: dict[str, Any]
    input: InputSpec
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    data: dict[str, Any]
    display_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    temperature: float = 1.0
    results: tuple[dict[str, Any], ...] = ()
    pruning: dict[str, Any] = field(default_factory=dict)
    lineage: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write ``run.json``."""
        data = {f: getattr(self, f) for f in self.__dataclass_fields__}
        data.update(format=FORMAT, config=self.config.to_dict(), input=asdict(self.input))
        write_json(folder / RUN_FILE, data)

    @classmethod
    def load(cls, folder: Path) -> Run:
        """Read ``run.json``. Raises InputError where the folder is no run."""
        path = folder / RUN_FILE
        try:
            return cls.from_text(path.read_text(encoding="utf-8"), path)
        except FileNotFoundError as error:
            raise InputError(
                "{path} is not a training run (it has no run.json); give the folder that imago train wrote",
                path=folder,
            ) from error
        except UnicodeDecodeError as error:
            raise _damaged(path, error) from error

    @classmethod
    def from_text(cls, text: str, path: Path) -> Run:
        """The run that ``text``, the content of ``path``, describes."""
        try:
            data = json.loads(text)
            return cls(
                config=TrainConfig.from_dict(data["config"]),
                model=dict(data["model"]),
                input=InputSpec(**data["input"]),
                classes=tuple(data["classes"]),
                mean=tuple(data["mean"]),
                std=tuple(data["std"]),
                data=dict(data["data"]),
                display_names={k: tuple(v) for k, v in data["display_names"].items()},
                temperature=float(data["temperature"]),
                results=tuple(data["results"]),
                pruning=dict(data["pruning"]),
                lineage=dict(data.get("lineage", {})),
                versions=dict(data["versions"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(path, error) from error

    def spec(self, name: str) -> ModelSpec:
        """The contract of the run's fp32 model."""
        data, config = self.data, self.config
        facts = {
            "dataset": data.get("name"),
            "fingerprint": data.get("fingerprint"),
            "generated": data.get("generated", False),
            "model": self.model,
            "seed": config.seed,
            "epochs": config.epochs,
            "augment": config.augment,
            "versions": self.versions,
            **self.lineage,
        }
        return ModelSpec(
            labels=self.classes,
            input=self.input,
            name=name,
            display_names=self.display_names,
            accuracy=self.results,
            calibration={"temperature": self.temperature},
            pruning=self.pruning,
            provenance=facts,
        )

    def load_module(self, folder: Path) -> nn.Module:
        """The trained network in eval mode, on the CPU."""
        from imago.train.checkpoint import WEIGHTS, load_tensors
        from imago.train.models.registry import ModelConfig, build_from_config

        module: nn.Module = build_from_config(ModelConfig.from_dict(self.model)).module
        tensors, _ = load_tensors(folder / WEIGHTS)
        try:
            module.load_state_dict(tensors)
        except RuntimeError as error:
            raise InputError(
                "{path} does not fit the network in run.json; train again", path=folder / WEIGHTS
            ) from error
        return module.eval()


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError("{path} is damaged ({reason}); train again", path=path, reason=repr(error))


def save_sample(folder: Path, images: U8, labels: npt.NDArray[np.int64], count: int = 128) -> None:
    """Keep up to ``count`` pictures, spread evenly over the split."""
    import torch

    from imago.train.checkpoint import save_tensors

    picked = np.unique(np.linspace(0, len(labels) - 1, min(count, len(labels))).astype(int))
    tensors = {"images": torch.from_numpy(images[picked]), "labels": torch.from_numpy(labels[picked])}
    save_tensors(folder / SAMPLE, tensors)


def load_sample(folder: Path) -> tuple[U8, npt.NDArray[np.int64]]:
    """Pictures uint8 ``(n, H, W, C)`` and labels int64 ``(n,)``."""
    from imago.train.checkpoint import load_tensors

    tensors, _ = load_tensors(folder / SAMPLE)
    return tensors["images"].numpy(), tensors["labels"].numpy()


def library_versions() -> dict[str, str]:
    """Versions that a result depends on."""
    import PIL
    import torch
    import torchvision

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
    }
