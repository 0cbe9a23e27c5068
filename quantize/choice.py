"""From a float model to the small version that is worth having here: made, measured, chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

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
VERDICTS = ("pass", "too few", "fail")
# From a candidate and what it loses to the same nodes with trained numbers in them, and facts about it.
Trainer = Callable[[Candidate, PairedDrop], tuple[onnx.ModelProto, Mapping[str, Any]]]


@dataclass(frozen=True, eq=False, slots=True)
class Version:
    """One small version of the model, and its figures. qat: facts about its training, if it was trained."""

    model: onnx.ModelProto
    figures: Measured
    qat: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, slots=True)
class Choice:
    """version: the one to write. measured: all that were held against the float model."""

    version: Version
    fp32_accuracy: float
    measured: tuple[Measured, ...]
    tried: tuple[Tried, ...]


def choose(
    model: onnx.ModelProto,
    calibration: Pictures,
    gate: Pictures,
    spec: ModelSpec,
    options: QuantiseOptions,
    *,
    trainer: Trainer | None = None,
) -> Choice:
    """Make what ``options.precision`` asks for; for ``auto`` the first that is fast and accurate enough:
    integers, integers that were trained on, integers with the worst layers in float, int8 weights.

    calibration, gate: pictures of the model's size, checked by the caller. trainer: None: no training.
    """
    job = _Job(model, calibration.tensors(spec.input.layout), gate, spec, options)
    versions: list[Version] = []
    if options.precision != INT8_WEIGHTS:
        versions += job.integers(trainer)
    if options.precision == INT8_WEIGHTS or (
        options.precision == "auto" and not any(v.figures.passes(options.max_drop) for v in versions)
    ):
        versions.append(job.int8_weights())
    return Choice(
        version=preferred(versions, options.max_drop),
        fp32_accuracy=accuracy(gate.labels, job.wanted),
        measured=tuple(v.figures for v in versions),
        tried=tuple(job.tried),
    )


def preferred(versions: Sequence[Version], max_drop: float) -> Version:
    """Fast and accurate enough before not, surely so before perhaps, integers before int8 weights; among
    integers the most accurate."""

    return min(versions, key=lambda version: rank(version.figures, max_drop))


def rank(figures: Measured, max_drop: float) -> tuple[bool, int, bool, float]:
    """Smaller is better, in the order that ``preferred`` states."""
    verdict = VERDICTS.index(figures.drop.verdict(max_drop))
    return not figures.passes(max_drop), verdict, figures.precision != INT8, figures.drop.drop


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

    def integers(self, trainer: Trainer | None) -> list[Version]:
        """int8; trained on where the gate is not passed and ``trainer`` is there; with the worst layers in
        float where it is missed all the same, and that still pays."""
        best = _searched(self.model, self.tensors)
        versions = [self._measured(best)]
        self.tried = list(best.tried)
        if trainer is not None and self._worth_training(self._verdict(versions[0])):
            versions.append(self._trained(trainer, best, versions[0].figures))
        if all(self._verdict(v) == "fail" for v in versions) and versions[0].figures.fast:
            versions += self._mixed(best) if self.options.mixed else ()
        return versions

    def _verdict(self, version: Version) -> str:
        return version.figures.drop.verdict(self.options.max_drop)

    def _worth_training(self, verdict: str) -> bool:
        qat = self.options.qat
        return verdict == "fail" or (verdict == "too few" and (qat is None or qat.unsure))

    def _trained(self, trainer: Trainer, start: Candidate, figures: Measured) -> Version:
        model, facts = trainer(start, figures.drop)
        onnx.checker.check_model(model, full_check=True)
        return Version(model, self._figures(model, INT8, f"{start.scheme}, trained on"), facts)

    def _mixed(self, best: Candidate) -> list[Version]:
        choosers = _choosers(self.tensors)
        layers = _sensitivities(best, choosers)
        mended = mixed(best, layers, choosers, lambda c: self._drop(c.model).drop <= self.options.max_drop)
        if mended is None:
            return []
        self.tried = list(mended.tried)
        return [self._measured(mended)]

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
