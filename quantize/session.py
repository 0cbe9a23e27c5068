"""``quantise_file``: a small version of a model file, and an honest word on whether to use it.

Integer arithmetic is made and measured first; where it is slower here, or loses too much even after
training (``QuantiseOptions.qat``) and with the worst layers in float, weights stored as int8 are the second
choice: the file is as small, and runs like the float one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from imago.edge_runtime.contract import spec_from_metadata
from imago.edge_runtime.engines.ort import OrtEngine
from imago.edge_runtime.errors import ModelError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.spec import ModelSpec
from imago.edge_runtime.types import U8
from imago.export.onnx_export import with_self_test, write_model
from imago.quantize.calibration import Pictures, pictures
from imago.quantize.choice import Trainer, choose, measured_sensitivities
from imago.quantize.onnx_view import View
from imago.quantize.options import QuantiseOptions
from imago.quantize.paired import PairedDrop
from imago.quantize.plan import weighted_nodes
from imago.quantize.ptq import Candidate
from imago.quantize.report import INT8, QuantiseReport
from imago.quantize.requirements import check_pictures, require_enough, require_float
from imago.quantize.sensitivity import LayerSensitivity
from imago.train.data.layouts import load_dataset
from imago.train.dataset import Dataset

if TYPE_CHECKING:
    from imago.quantize.qat.session import QatOptions

__all__ = ["QuantiseOptions", "QuantiseReport", "quantise_file", "quantise_pictures"]


def quantise_file(
    source: Path,
    data: Path,
    target: Path,
    options: QuantiseOptions | None = None,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> QuantiseReport:
    """Quantise ``source`` (an ONNX file with contract) with pictures from ``data``; write ``target``.

    Raises ImagoError subclasses for what the user can mend; nothing half-written.
    """
    options = options or QuantiseOptions()
    spec = float_spec(source)
    dataset = load_dataset(data, options.data)
    chosen = pictures(dataset, "train", spec, 2 * options.calibration)
    split = "val" if len(dataset.splits.get("val", ())) else "test"
    gate = pictures(dataset, split, spec, options.gate)
    trainer = None
    if options.qat is not None:
        trainer = _trainer(source, spec, dataset, target, options=options.qat, say=say)
    return quantise_pictures(
        source,
        chosen.images,
        gate,
        target,
        options,
        split=split,
        generated=dataset.generated,
        trainer=trainer,
    )


def _trainer(
    source: Path,
    spec: ModelSpec,
    dataset: Dataset,
    target: Path,
    *,
    options: QatOptions,
    say: Callable[[str], None],
) -> Trainer:
    """Training on from a candidate, on the data set that it was calibrated with."""
    from imago.quantize.qat.session import quantise_aware

    workspace = target.with_name(f"{target.stem}.qat")

    def train(candidate: Candidate, drop: PairedDrop) -> tuple[onnx.ModelProto, Mapping[str, Any]]:
        low, high = drop.interval
        said = f"{drop.drop:+.2f}, {low:+.2f} … {high:+.2f}"
        say(tr("the gate is not passed yet ({drop} points); training on with int8 arithmetic", drop=said))
        model, facts = quantise_aware(
            onnx.load(source),
            candidate.model,
            spec,
            dataset,
            workspace,
            near=candidate.exact(),
            options=options,
            say=say,
        )
        return model, facts.to_dict()

    return train


def quantise_pictures(
    source: Path,
    calibration: U8,
    gate: Pictures,
    target: Path,
    options: QuantiseOptions | None = None,
    *,
    split: str = "val",
    generated: bool = False,
    trainer: Trainer | None = None,
) -> QuantiseReport:
    """As ``quantise_file``, with pictures at hand.

    calibration: uint8 ``(n, H, W, C)`` at the model's input size, n ≥ 8; the first half sets the ranges, the
    second chooses. gate: what accuracy is measured on. split, generated: what to call it. trainer: for
    ``options.qat``.

    Raises DataError for pictures of another size or too few, ModelError for a model that is not float.
    """
    options = options or QuantiseOptions()
    spec = float_spec(source)
    check_pictures(calibration, spec)
    check_pictures(gate.images, spec)
    require_enough(len(calibration), len(gate))
    given = Pictures(calibration, gate.labels[:0])
    choice = choose(_with_weights(source), given, gate, spec, options, trainer=trainer)
    figures = choice.version.figures
    report = QuantiseReport(
        target=target,
        scheme=figures.scheme,
        split=split,
        fp32_accuracy=choice.fp32_accuracy,
        int8_accuracy=figures.accuracy,
        drop=figures.drop,
        max_drop=options.max_drop,
        fp32_bytes=source.stat().st_size,
        int8_bytes=figures.bytes,
        fp32_us=figures.fp32_us,
        int8_us=figures.us,
        generated=generated,
        precision=figures.precision,
        kernels=figures.kernels,
        floats=figures.floats,
        tried=choice.tried,
        measured=choice.measured,
        qat=choice.version.qat,
    )
    model = choice.version.model
    write_model(model, _small_spec(spec, model, report, calibration), target)
    return replace(report, int8_bytes=target.stat().st_size)


def file_sensitivities(
    source: Path, data: Path, options: QuantiseOptions | None = None
) -> tuple[LayerSensitivity, ...]:
    """How much every layer of ``source`` suffers from int8, on calibration pictures from ``data``."""
    options = options or QuantiseOptions()
    spec = float_spec(source)
    chosen = pictures(load_dataset(data, options.data), "train", spec, 2 * options.calibration)
    require_enough(len(chosen), 1)
    return measured_sensitivities(_with_weights(source), chosen.tensors(spec.input.layout))


def float_spec(source: Path) -> ModelSpec:
    """The contract of a float model. Raises ModelError where there is none, or it is small already."""
    engine = OrtEngine(source, optimise=False)
    spec = spec_from_metadata(engine.metadata)
    engine.close()
    return require_float(spec, source)


def _with_weights(source: Path) -> onnx.ModelProto:
    """The model. Raises ModelError where it has nothing that could be int8."""
    model = onnx.load(source)
    if not weighted_nodes(View(model)):
        raise ModelError(
            "{path} has no convolution or matrix product with float weights; there is nothing to quantise",
            path=source,
        )
    return model


def _small_spec(spec: ModelSpec, model: onnx.ModelProto, report: QuantiseReport, images: U8) -> ModelSpec:
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
        "pictures": len(images) // 2 if report.precision == INT8 else 0,
        "drop": report.drop.to_dict(),
        **({"qat": dict(report.qat)} if report.qat else {}),
    }
    fresh = replace(
        spec, precision=report.precision, accuracy=(facts,), calibration=calibration, selftest=None
    )
    return with_self_test(model, fresh, images)
