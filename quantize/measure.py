"""A float model and its small versions, measured on the same pictures and at the same time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.bench import interleaved
from imago.edge_runtime.engines.base import Engine, Tensor
from imago.quantize.kernels import Kernels
from imago.quantize.paired import PairedDrop

NOISE = 1.03  # two runs of one and the same file differ by so much in their medians


@dataclass(frozen=True, slots=True)
class Measured:
    """One small version. scheme: how it was made; accuracy: 0..1; us: p50 of the engine alone, in µs,
    measured alternately with ``fp32_us``. floats: layers that were kept float for accuracy's sake."""

    precision: str
    scheme: str
    accuracy: float
    drop: PairedDrop
    bytes: int
    us: float
    fp32_us: float
    kernels: Kernels | None = None
    floats: tuple[str, ...] = ()

    @property
    def fast(self) -> bool:
        """Whether it is as fast as the float model, as far as this machine can tell."""
        return self.us <= NOISE * self.fp32_us

    def passes(self, max_drop: float) -> bool:
        """Whether speed and accuracy are both good enough (few pictures are no reason against it)."""
        return self.fast and self.drop.verdict(max_drop) != "fail"

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "precision": self.precision,
            "scheme": self.scheme,
            "accuracy": self.accuracy,
            **self.drop.to_dict(),
            "bytes": self.bytes,
            "p50_us": self.us,
            "p50_us_fp32": self.fp32_us,
            **({} if self.kernels is None else self.kernels.to_dict()),
            "layers_kept_float": list(self.floats),
        }


def side_by_side(engines: Mapping[str, Engine], tensor: Tensor, runs: int) -> dict[str, float]:
    """p50 in µs of each engine on ``tensor``, called in turns so that a noisy moment hits all alike."""
    calls = {name: lambda engine=engine: engine.run(tensor) for name, engine in engines.items()}
    return {name: float(np.median(ns)) / 1000 for name, ns in interleaved(calls, runs=runs).items()}


def accuracy(labels: npt.NDArray[np.int64], answers: npt.NDArray[np.int64]) -> float:
    """Share of right answers, 0..1."""
    return float((labels == answers).mean())
