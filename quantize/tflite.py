"""``quantise_tflite``: int8 and half-precision versions of a .tflite model, held against the float one."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

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
from imago.quantize.measure import side_by_side
from imago.quantize.options import QuantiseOptions
from imago.quantize.paired import paired_drop
from imago.quantize.report import QuantiseReport
from imago.quantize.requirements import require_enough, require_float
from imago.quantize.tflite_passes import float_operators
from imago.train.data.layouts import load_dataset
from imago.train.data.places import cache_root

Scheme = Literal["mixed", "static", "dynamic", "fp16"]
SCHEMES: tuple[Scheme, ...] = ("mixed", "static", "dynamic", "fp16")
PRECISION = {"mixed": "int8", "static": "int8", "dynamic": "int8-dynamic", "fp16": "fp16"}
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
        return self.precision == "fp16" or self.int8_us <= self.fp32_us

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
    """What the worker made: the network, the recipe's name, the quantiser and its version."""

    data: bytes
    name: str
    tool: str


def quantise_tflite(
    source: Path,
    data: Path,
    target: Path,
    options: QuantiseOptions | None = None,
    scheme: Scheme = "mixed",
) -> TfliteReport:
    """Quantise ``source`` (a float .tflite with contract) with pictures from ``data``; write ``target``.

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
    half = len(chosen) // 2
    best = _made(env, network_of(source), chosen.images[:half], chosen.images[half:], scheme)
    split = "val" if len(dataset.splits.get("val", ())) else "test"
    gate = pictures(dataset, split, spec, options.gate)
    report = _compared(source, engine, best, gate, split=split, target=target, options=options, scheme=scheme)
    report = replace(report, generated=dataset.generated)
    fresh = _small_spec(spec, report, half if scheme in ("mixed", "static") else 0, best.tool)
    write_model(best.data, fresh, chosen.images, target)
    return replace(report, int8_bytes=target.stat().st_size)


def _made(env: ConverterEnv, network: bytes, images: U8, held_out: U8, scheme: Scheme) -> Quantised:
    """Let the worker quantise ``network``."""
    with tempfile.TemporaryDirectory() as place, Progress(len(images), tr("quantising")) as bar:
        folder = Path(place)
        job = {"scheme": scheme, "target": str(folder / "small.tflite")}
        for name, values in (("pictures", images), ("held_out", held_out)):
            job[name] = str(folder / f"{name}.npy")
            np.save(job[name], values, allow_pickle=False)
        job["source"] = str(folder / "source.tflite")
        Path(job["source"]).write_bytes(network)
        answer = env.call(WORKER, job, bar.advance)
        return Quantised(Path(job["target"]).read_bytes(), str(answer["name"]), str(answer["quantizer"]))


def _compared(
    source: Path,
    engine: LiteRtEngine,
    best: Quantised,
    gate: Pictures,
    *,
    split: str,
    target: Path,
    options: QuantiseOptions,
    scheme: Scheme,
) -> TfliteReport:
    small = LiteRtEngine(best.data)
    answers = [engine_probabilities(e, gate.images).argmax(1) for e in (engine, small)]
    times = side_by_side({"fp32": engine, "int8": small}, gate.images[:1], options.runs)
    return TfliteReport(
        target=target,
        scheme=best.name,
        split=split,
        fp32_accuracy=float((answers[0] == gate.labels).mean()),
        int8_accuracy=float((answers[1] == gate.labels).mean()),
        drop=paired_drop(gate.labels, *answers),
        max_drop=options.max_drop,
        fp32_bytes=source.stat().st_size,
        int8_bytes=len(best.data),
        fp32_us=times["fp32"],
        int8_us=times["int8"],
        precision=PRECISION[scheme],
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
