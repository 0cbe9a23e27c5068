"""Static int8 by post-training quantisation (QDQ form), with ONNX Runtime's quantiser.

A few schemes are tried on real calibration pictures and the one that agrees best with the float model
on held-out pictures is kept: weights int8 symmetric, activations uint8 (what x86 VNNI and Arm dot
product both run), per channel or per tensor, ranges by min–max or by percentile.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from imago.edge_runtime.engines.ort import OrtEngine
from imago.edge_runtime.types import F32, U8

# Softmax and the first conversion from pixels stay in float: they cost nothing and need the range.
QUANTISED_OPS = (
    "Conv",
    "Gemm",
    "MatMul",
    "Add",
    "Mul",
    "GlobalAveragePool",
    "MaxPool",
    "AveragePool",
    "Concat",
)


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to quantise. ranges: how activation ranges are found."""

    per_channel: bool
    ranges: str  # "minmax" or "percentile"

    @property
    def name(self) -> str:
        """For people and for the contract."""
        return f"{'per-channel' if self.per_channel else 'per-tensor'}, {self.ranges}"


SCHEMES = tuple(Scheme(pc, ranges) for pc in (True, False) for ranges in ("minmax", "percentile"))


@dataclass(frozen=True, eq=False, slots=True)
class Candidate:
    """A quantised model. difference: mean absolute difference of its probabilities from the float model's."""

    scheme: Scheme
    model: onnx.ModelProto
    difference: float


def quantise(
    source: Path,
    calibration: U8,
    held_out: U8,
    *,
    schemes: tuple[Scheme, ...] = SCHEMES,
    advance: Callable[[], None] = lambda: None,
) -> Candidate:
    """The best int8 version of ``source`` (a float ONNX file).

    calibration, held_out: uint8 input tensors, one per row (``(n, *input shape without batch)``).
    advance: called after every scheme.
    """
    wanted = probabilities(OrtEngine(source), held_out)
    best: Candidate | None = None
    for scheme in schemes:
        model = _quantised(source, scheme, calibration)
        got = probabilities(OrtEngine(model.SerializeToString()), held_out)
        candidate = Candidate(scheme, model, float(np.abs(got - wanted).mean()))
        if best is None or candidate.difference < best.difference:
            best = candidate
        advance()
    if best is None:
        raise ValueError("no schemes to try")
    return best


def probabilities(engine: OrtEngine, tensors: U8) -> F32:
    """float32 ``(n, classes)``, one picture at a time."""
    return np.stack([engine.run(row[None]) for row in tensors])


class _Reader(CalibrationDataReader):
    """Feeds calibration pictures to ONNX Runtime's calibrator."""

    def __init__(self, tensors: U8, name: str) -> None:
        self._rows: Iterator[npt.NDArray[np.uint8]] = iter(tensors)
        self._name = name

    def get_next(self) -> dict[str, Any] | None:  # type: ignore[override]
        row = next(self._rows, None)
        return None if row is None else {self._name: row[None]}


def _quantised(source: Path, scheme: Scheme, calibration: U8) -> onnx.ModelProto:
    model = onnx.load(source)
    name = model.graph.input[0].name
    method = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile}[scheme.ranges]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        target = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            target,
            _Reader(calibration, name),
            quant_format=QuantFormat.QDQ,
            per_channel=scheme.per_channel,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=list(QUANTISED_OPS),
            nodes_to_exclude=_input_nodes(model),
            calibrate_method=method,
            extra_options={"CalibPercentile": 99.99} if scheme.ranges == "percentile" else {},
        )
        return onnx.load(target)


def _input_nodes(model: onnx.ModelProto) -> list[str]:
    """Everything between the uint8 input and the first convolution."""
    names, reached = [], {model.graph.input[0].name}
    for node in model.graph.node:
        if node.op_type in ("Cast", "Mul", "Add", "Sub") and reached & set(node.input):
            names.append(node.name)
            reached.update(node.output)
    return names


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser prints progress and advice on its own internals."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
