"""What ``imago search`` is asked to do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import InputError
from imago.train.dataset import DataOptions
from imago.train.models.catalogue import check_width, model_info

# What trains from nothing in minutes and runs on a small board; heavier ones on request (--models).
MODELS = (
    "mobilenet_v3_small",
    "lenet5",
    "resnet18",
    "mobilenet_v2",
    "shufflenet_v2",
    "squeezenet",
    "efficientnet_b0",
)
LEAST_BUDGET_S = 20.0
MOST_WORKERS = 64


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """budget_s: of wall time for everything, training of the winner and report included. max_latency_us: of
    the engine alone, p50, one thread, on this machine (0: no limit). trials: different settings to try (0: as
    many as fit). epochs: of a first trial, instead of a share of the time. models: networks to choose from.
    pretrained, weights: also start from ImageNet weights, or from this file, with the backbone frozen or not.
    workers: processes that try settings at the same time (0: one per core, at most four; one on an
    accelerator). threads: of each (0: the cores divided among them).
    """

    budget_s: float = 1200.0
    max_latency_us: float = 0.0
    trials: int = 0
    epochs: int = 0
    models: tuple[str, ...] = MODELS
    pretrained: bool = False
    weights: Path | None = None
    workers: int = 0
    threads: int = 0
    device: str = "auto"
    seed: int = 0
    data: DataOptions = field(default_factory=DataOptions)

    def __post_init__(self) -> None:
        if not LEAST_BUDGET_S <= self.budget_s <= 30 * 86400:
            raise InputError(
                "--budget is {seconds} s; expected 20s to 30d, such as 20m", seconds=f"{self.budget_s:g}"
            )
        for name in ("trials", "epochs", "workers", "threads", "seed"):
            value = getattr(self, name)
            most = MOST_WORKERS if name == "workers" else 1_000_000_000
            if not 0 <= value <= most:
                raise InputError(
                    "--{name} is {value}; expected {low} to {high}", name=name, value=value, low=0, high=most
                )
        if not self.models:
            raise InputError("--models names no network; imago models lists them")
        for name in self.models:
            check_width(name, 1.0)
            model_info(name)
        if self.weights is not None and (self.pretrained or len(self.models) != 1):
            raise InputError("--weights FILE fits one network: name it with --models, without --pretrained")

    @property
    def crew(self) -> tuple[int, int]:
        """``(workers, threads of each)`` on a CPU."""
        cores = os.cpu_count() or 1
        workers = self.workers or max(1, min(4, cores))
        return workers, self.threads or max(1, cores // workers)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        data = asdict(self)
        data["weights"] = str(self.weights) if self.weights else None
        data["data"]["split_file"] = str(self.data.split_file) if self.data.split_file else None
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SearchOptions:
        """Inverse of ``to_dict``; unknown keys are ignored. Raises InputError."""
        known = {f.name for f in fields(cls)}
        kept = {key: value for key, value in data.items() if key in known}
        try:
            options = dict(kept.get("data") or {})
            options["split_file"] = Path(options["split_file"]) if options.get("split_file") else None
            kept.update(data=DataOptions(**options), models=tuple(kept["models"]))
            kept["weights"] = Path(kept["weights"]) if kept.get("weights") else None
            return cls(**kept)
        except (TypeError, KeyError, ValueError) as error:
            raise InputError(
                "the settings of this search are damaged ({reason}); start a new one", reason=error
            ) from error
