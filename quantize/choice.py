"""From a float model to the small version that is worth having here: made, measured, chosen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnx

from imago.edge_runtime.engines.ort import OrtEngine
from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import Progress
from imago.edge_runtime.spec import ModelSpec
from imago.edge_runtime.types import U8
from imago.quantize.calibration import Pictures
from imago.quantize.kernels import kernels
from imago.quantize.measure import Measured, accuracy, side_by_side
from imago.quantize.mixed import mixed
from imago.quantize.onnx_view import label
from imago.quantize.options import QuantiseOptions
from imago.quantize.paired import PairedDrop, paired_drop
from imago.quantize.plan import weighted_nodes
from imago.quantize.ptq import Candidate, Tried, answers, quantise, steps
from imago.quantize.report import INT8, INT8_WEIGHTS
from imago.quantize.sensitivity import LayerSensitivity, sensitivities
from imago.quantize.weight_only import with_int8_weights

SEARCH = 128  # pictures that every candidate answers; more cost time and choose no better
WEIGHTS_SCHEME = "weights per-channel"


@dataclass(frozen=True, eq=False, slots=True)
class Version:
    """One small version of the model, and its figures."""

    model: onnx.ModelProto
    figures: Measured


@dataclass(frozen=True, eq=False, slots=True)
class Choice:
    """version: the one to write. measured: all that were held against the float model."""

    version: Version
    fp32_accuracy: float
    measured: tuple[Measured, ...]
    tried: tuple[Tried, ...]


def choose(
    model: onnx.ModelProto, calibration: Pictures, gate: Pictures, spec: ModelSpec, options: QuantiseOptions
) -> Choice:
    """Make what ``options.precision`` asks for; for ``auto`` the first that is fast and accurate enough.

    calibration, gate: pictures of the model's size, checked by the caller.
    """
    job = _Job(model, calibration.tensors(spec.input.layout), gate, spec, options)
    versions: list[Version] = []
    if options.precision != INT8_WEIGHTS:
        versions.append(job.integers())
    if options.precision == INT8_WEIGHTS or (
        options.precision == "auto" and not versions[0].figures.passes(options.max_drop)
    ):
        versions.append(job.int8_weights())
    good = [v for v in versions if v.figures.passes(options.max_drop)]
    return Choice(
        version=(good or versions)[0],
        fp32_accuracy=accuracy(gate.labels, job.wanted),
        measured=tuple(v.figures for v in versions),
        tried=tuple(job.tried),
    )


def measured_sensitivities(model: onnx.ModelProto, tensors: U8) -> tuple[LayerSensitivity, ...]:
    """Sensitivities of the best int8 version; ``tensors``: calibration pictures, uint8, one per row."""
    return _sensitivities(_searched(model, tensors), _choosers(tensors))


class _Job:
    """The float model with everything that its versions are held against."""

    def __init__(
        self, model: onnx.ModelProto, tensors: U8, gate: Pictures, spec: ModelSpec, options: QuantiseOptions
    ) -> None:
        self.model, self.tensors, self.gate, self.options = model, tensors, gate, options
        self.questions = gate.tensors(spec.input.layout)
        self.engine = OrtEngine(model.SerializeToString())
        self.tried: list[Tried] = []

    @cached_property
    def wanted(self) -> npt.NDArray[np.int64]:
        """The float model's answers."""
        return answers(self.engine, self.questions)

    def integers(self) -> Version:
        """int8, with the worst layers in float where that is needed, helps and still pays."""
        best = _searched(self.model, self.tensors)
        version = self._measured(best)
        self.tried = list(best.tried)
        failed = version.figures.drop.verdict(self.options.max_drop) == "fail"
        if not (failed and version.figures.fast and self.options.mixed):
            return version
        choosers = _choosers(self.tensors)
        layers = _sensitivities(best, choosers)
        mended = mixed(best, layers, choosers, lambda c: self._drop(c.model).drop <= self.options.max_drop)
        if mended is None:
            return version
        self.tried = list(mended.tried)
        return self._measured(mended)

    def int8_weights(self) -> Version:
        """Weights stored as int8, arithmetic in float."""
        model = with_int8_weights(self.model)
        return Version(model, self._figures(model, INT8_WEIGHTS, WEIGHTS_SCHEME))

    def _measured(self, made: Candidate) -> Version:
        onnx.checker.check_model(made.model, full_check=True)
        kept = [label(n) for n in weighted_nodes(made.network.view) if n.name in made.floats]
        figures = self._figures(made.model, INT8, made.scheme, tuple(kept))
        return Version(made.model, figures)

    def _figures(
        self, model: onnx.ModelProto, precision: str, scheme: str, floats: tuple[str, ...] = ()
    ) -> Measured:
        data = model.SerializeToString()
        engine = OrtEngine(data)
        given = answers(engine, self.questions)
        times = side_by_side({"fp32": self.engine, "small": engine}, self.questions[:1], self.options.runs)
        return Measured(
            precision=precision,
            scheme=scheme,
            accuracy=accuracy(self.gate.labels, given),
            drop=paired_drop(self.gate.labels, self.wanted, given),
            bytes=len(data),
            us=times["small"],
            fp32_us=times["fp32"],
            kernels=kernels(model),
            floats=floats,
        )

    def _drop(self, model: onnx.ModelProto) -> PairedDrop:
        given = answers(OrtEngine(model.SerializeToString()), self.questions)
        return paired_drop(self.gate.labels, self.wanted, given)


def _searched(model: onnx.ModelProto, tensors: U8) -> Candidate:
    half = len(tensors) // 2
    with Progress(steps(half), tr("quantising")) as bar:
        return quantise(model, tensors[:half], _choosers(tensors), advance=bar.advance)


def _choosers(tensors: U8) -> U8:
    """The pictures that choose among candidates: none of those that set the ranges."""
    return tensors[len(tensors) // 2 :][:SEARCH]


def _sensitivities(candidate: Candidate, held_out: U8) -> tuple[LayerSensitivity, ...]:
    total = 2 * len(weighted_nodes(candidate.network.view))
    with Progress(total, tr("measuring layers")) as bar:
        return sensitivities(candidate, held_out, bar.advance)
