"""``quantise_tflite``: int8 and half-precision versions of a .tflite model, held against the float one."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.contract import spec_from_metadata
from imago.edge_runtime.engines.litert import LiteRtEngine
from imago.edge_runtime.engines.tflite_file import network_of
from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import Progress
from imago.edge_runtime.spec import ModelSpec
from imago.edge_runtime.types import U8
from imago.export.converter_env import ConverterEnv
from imago.export.tflite_export import engine_probabilities, write_model
from imago.export.tflite_graph import Network
from imago.quantize.calibration import Pictures, pictures
from imago.quantize.choice import rank
from imago.quantize.measure import NOISE, Measured, accuracy, side_by_side
from imago.quantize.options import Precision, QuantiseOptions
from imago.quantize.paired import paired_drop
from imago.quantize.report import INT8, INT8_WEIGHTS, QuantiseReport
from imago.quantize.requirements import require_enough, require_float
from imago.quantize.tflite_passes import float_operators
from imago.train.data.layouts import load_dataset
from imago.train.data.places import cache_root

Scheme = Literal["mixed", "static", "dynamic", "weights", "fp16"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
CALIBRATED = ("mixed", "static")  # whose ranges come from pictures
PRECISION = {
    "mixed": INT8,
    "static": INT8,
    "dynamic": "int8-dynamic",
    "weights": INT8_WEIGHTS,
    "fp16": "fp16",
}
BY_PRECISION: dict[Precision, Scheme] = {"auto": "mixed", "int8": "mixed", "int8-weights": "weights"}
WORKER = "imago.quantize.tflite_worker"


@dataclass(frozen=True, slots=True)
class TfliteReport(QuantiseReport):
    """As for ONNX; ``int8_…`` are the figures of the quantised file, whatever its precision.

    float_operators: kinds of operators whose results are float, and how many of each.
    """

    float_operators: Mapping[str, int] = field(default_factory=dict)

    @property
    def faster(self) -> bool:
        """Whether it is at least as fast here; half precision computes in float: only its size counts."""
        return self.precision == "fp16" or self.int8_us <= NOISE * self.fp32_us

    def reason(self) -> str:
        """One sentence for people."""
        verdict = self.drop.verdict(self.max_drop)
        if self.precision == "fp16" and verdict == "pass":
            return tr("recommended where size counts: half as large, and its accuracy holds")
        if self.precision == "fp16" and verdict == "fail":
            return tr("not recommended: half precision loses {drop} points", drop=f"{self.drop.drop:.2f}")
        return QuantiseReport.reason(self)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**QuantiseReport.to_dict(self), "float_operators": dict(self.float_operators)}


@dataclass(frozen=True, eq=False, slots=True)
class Quantised:
    """What the worker made, and how it does: the network, its figures, the quantiser and its version."""

    scheme: Scheme
    data: bytes
    tool: str
    figures: Measured


def quantise_tflite(
    source: Path,
    data: Path,
    target: Path,
    options: QuantiseOptions | None = None,
    scheme: Scheme | None = None,
) -> TfliteReport:
    """Quantise ``source`` (a float .tflite with contract) with pictures from ``data``; write ``target``.

    scheme: exactly this one. None: what ``options.precision`` asks for; for ``auto`` integers, and int8
    weights with float arithmetic where integers are slower here or lose too much.
    Raises ImagoError subclasses for what the user can mend; nothing half-written.
    """
    options = options or QuantiseOptions()
    engine = LiteRtEngine(source)
    spec = require_float(spec_from_metadata(engine.metadata), source)
    env = ConverterEnv.under(cache_root())
    env.require()
    dataset = load_dataset(data, options.data)
    chosen = pictures(dataset, "train", spec, 2 * options.calibration)
    require_enough(len(chosen), 1)
    split = "val" if len(dataset.splits.get("val", ())) else "test"
    gate = pictures(dataset, split, spec, options.gate)
    job = _Job(env, network_of(source), engine, chosen, gate, options)
    versions = [job.version(scheme or BY_PRECISION[options.precision])]
    if scheme is None and options.precision == "auto" and not versions[0].figures.passes(options.max_drop):
        versions.append(job.version("weights"))
    best = min(versions, key=lambda v: rank(v.figures, options.max_drop))
    report = _report(best, versions, job, target=target, size=source.stat().st_size, split=split)
    report = replace(report, generated=dataset.generated)
    calibrated = len(chosen) // 2 if best.scheme in CALIBRATED else 0
    write_model(best.data, _small_spec(spec, report, calibrated, best.tool), chosen.images, target)
    return replace(report, int8_bytes=target.stat().st_size)


@dataclass(frozen=True, eq=False)
class _Job:
    """The float network (``engine`` runs it) with everything that its versions are held against."""

    env: ConverterEnv
    network: bytes
    engine: LiteRtEngine
    chosen: Pictures
    gate: Pictures
    options: QuantiseOptions

    @cached_property
    def wanted(self) -> npt.NDArray[np.int64]:
        """The float network's answers to the gate's pictures."""
        return np.asarray(engine_probabilities(self.engine, self.gate.images).argmax(1), np.int64)

    def version(self, scheme: Scheme) -> Quantised:
        """Made by the worker, measured here."""
        half = len(self.chosen) // 2
        made, answer = _made(self.env, self.network, self.chosen.images, half, scheme)
        small = LiteRtEngine(made)
        given = engine_probabilities(small, self.gate.images).argmax(1)
        times = side_by_side({"fp32": self.engine, "small": small}, self.gate.images[:1], self.options.runs)
        figures = Measured(
            precision=PRECISION[scheme],
            scheme=str(answer["name"]),
            accuracy=accuracy(self.gate.labels, given),
            drop=paired_drop(self.gate.labels, self.wanted, given),
            bytes=len(made),
            us=times["small"],
            fp32_us=times["fp32"],
        )
        return Quantised(scheme, made, str(answer["quantizer"]), figures)


def _made(
    env: ConverterEnv, network: bytes, images: U8, half: int, scheme: Scheme
) -> tuple[bytes, Mapping[str, Any]]:
    """Let the worker quantise ``network``: the first ``half`` pictures set ranges, the others choose."""
    with tempfile.TemporaryDirectory() as place, Progress(half, tr("quantising")) as bar:
        folder = Path(place)
        job = {"scheme": scheme, "target": str(folder / "small.tflite")}
        for name, values in (("pictures", images[:half]), ("held_out", images[half:])):
            job[name] = str(folder / f"{name}.npy")
            np.save(job[name], values, allow_pickle=False)
        job["source"] = str(folder / "source.tflite")
        Path(job["source"]).write_bytes(network)
        answer = env.call(WORKER, job, bar.advance)
        return Path(job["target"]).read_bytes(), answer


def _report(
    best: Quantised,
    versions: Sequence[Quantised],
    job: _Job,
    *,
    target: Path,
    size: int,
    split: str,
) -> TfliteReport:
    figures = best.figures
    return TfliteReport(
        target=target,
        scheme=figures.scheme,
        split=split,
        fp32_accuracy=accuracy(job.gate.labels, job.wanted),
        int8_accuracy=figures.accuracy,
        drop=figures.drop,
        max_drop=job.options.max_drop,
        fp32_bytes=size,
        int8_bytes=figures.bytes,
        fp32_us=figures.fp32_us,
        int8_us=figures.us,
        precision=figures.precision,
        measured=tuple(v.figures for v in versions),
        float_operators=float_operators(Network(best.data)),
    )


def _small_spec(spec: ModelSpec, report: TfliteReport, calibrated: int, tool: str) -> ModelSpec:
    facts = {
        "split": report.split,
        "n": report.drop.n,
        "top1": report.int8_accuracy,
        "precision": report.precision,
        "generated": report.generated,
    }
    calibration = {
        **spec.calibration,
        "scheme": report.scheme,
        "pictures": calibrated,
        "drop": report.drop.to_dict(),
        "float_operators": dict(report.float_operators),
    }
    provenance = {**spec.provenance, "quantizer": tool}
    return replace(
        spec,
        precision=report.precision,
        accuracy=(facts,),
        calibration=calibration,
        provenance=provenance,
        selftest=None,
    )
