"""A deterministic stand-in for a model, for tests and for trying the loop without one."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np

from imago.edge_runtime.engines.base import Tensor
from imago.edge_runtime.spec import InputSpec
from imago.edge_runtime.types import F32


class FakeEngine:
    """Probabilities that depend on the tensor's bytes and on nothing else (CRC-32), the same everywhere."""

    name, version, threads, outputs, output_step = "fake", "1", 1, 1, 0.0

    def __init__(self, spec: InputSpec, classes: int) -> None:
        self.input_shape: tuple[int | None, ...] = spec.shape
        self.input_dtype: str = spec.dtype
        self.classes: int | None = classes
        self.metadata: Mapping[str, str] = {}
        self._classes = classes

    def run(self, tensor: Tensor) -> F32:
        """See ``Engine.run``; sums to 1."""
        data = np.ascontiguousarray(tensor).tobytes()
        scores = np.array([zlib.crc32(data, start) + 1 for start in range(self._classes)], np.float64)
        row: F32 = (scores / scores.sum()).astype(np.float32)
        return row

    def close(self) -> None:
        """See ``Engine.close``."""
