"""Ranges of every activation of a float TFLite network on real pictures, in two ways.

One pass over the pictures keeps the exact extremes and, per picture, a fixed sample of each tensor's values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imago.export.tflite_graph import Network

SAMPLE = 1024  # values per tensor and picture
SHRINK = tuple(1 - k / 40 for k in range(25))  # parts of the full range that "mse" tries
Range = tuple[float, float]
Array = npt.NDArray[Any]


@dataclass(slots=True)
class Observed:
    """Extremes and sampled values of one tensor."""

    low: float
    high: float
    values: Array

    def range(self, method: str) -> Range:
        """``(low, high)`` by ``minmax``, or ``mse``: least squared error of sampled values."""
        if method == "minmax":
            return self.low, self.high
        errors = [_squared_error(self.values, self.low * part, self.high * part) for part in SHRINK]
        best = SHRINK[int(np.argmin(errors))]
        return self.low * best, self.high * best


def observe(
    data: bytes, pictures: Array, threads: int = 1, advance: Callable[[int], None] = lambda steps: None
) -> dict[str, Observed]:
    """Tensor name → what was seen of it while ``pictures`` (uint8 ``(n, H, W, C)``) went through ``data``,
    a float network with float pixels at its front."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    network = Network(data)
    interpreter = Interpreter(
        model_content=data,
        num_threads=threads,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    tensors = _computed(network)
    seen: dict[str, list[tuple[float, float, Array]]] = {network.name(tensor): [] for tensor in tensors}
    rng = np.random.default_rng(0)
    for picture in pictures:
        interpreter.set_tensor(network.input, picture[None].astype(np.float32))
        interpreter.invoke()
        for tensor in tensors:
            values = interpreter.get_tensor(tensor).ravel()
            part = values if values.size <= SAMPLE else values[rng.integers(0, values.size, SAMPLE)]
            seen[network.name(tensor)].append((float(values.min()), float(values.max()), part))
        advance(1)
    return {name: _joined(rows) for name, rows in seen.items()}


def _computed(network: Network) -> list[int]:
    """Float tensors that the pictures decide: the input and every operator's output."""
    outputs = {int(tensor) for operator in network.graph.operators for tensor in operator.outputs}
    return sorted(t for t in outputs | {network.input} if network.type(t) == "FLOAT32")


def _joined(rows: list[tuple[float, float, Array]]) -> Observed:
    return Observed(min(r[0] for r in rows), max(r[1] for r in rows), np.concatenate([r[2] for r in rows]))


def _squared_error(values: Array, low: float, high: float) -> float:
    """Of asymmetric 8-bit quantisation over ``low`` to ``high`` (widened to hold 0, as TFLite wants)."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / 255 or 1.0
    stored = np.clip(np.round((values - low) / step), 0, 255)
    return float(np.square(stored * step + low - values).mean())


def as_statistics(observed: Mapping[str, Observed], method: str) -> dict[str, dict[str, Array]]:
    """In the form that ai-edge-quantizer takes: tensor name → ``min`` and ``max``."""
    found = {}
    for name, seen in observed.items():
        low, high = seen.range(method)
        found[name] = {"min": np.array([[low]], np.float32), "max": np.array([[high]], np.float32)}
    return found
