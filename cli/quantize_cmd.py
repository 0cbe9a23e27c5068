"""``imago quantize``: an int8 version of a model file, and a word on whether it is worth having."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imago.cli.common import Output, Parser, add_json
from imago.cli.data_args import add_data_options, data_options
from imago.edge_runtime.errors import InputError, StorageError
from imago.edge_runtime.messages import tr

if TYPE_CHECKING:
    from imago.quantize.measure import Measured
    from imago.quantize.options import QuantiseOptions
    from imago.quantize.qat.session import QatOptions
    from imago.quantize.report import QuantiseReport
    from imago.quantize.sensitivity import LayerSensitivity

EXAMPLES = (
    "imago quantize insects.onnx --calibrate photos/",
    "imago quantize insects.onnx --calibrate photos/ -o small.onnx --max-drop 1",
    "imago quantize insects.onnx --calibrate photos/ --precision int8-weights",
    "imago quantize insects.onnx --calibrate photos/ --qat      # train on where int8 loses too much",
    "imago quantize insects.onnx --calibrate photos/ --sensitivity",
    "imago quantize insects.tflite --calibrate photos/ --scheme fp16",
)
ONNX_ONLY = ("no_mixed", "sensitivity", "qat")
SHOWN = 12  # layers in the table of --sensitivity; the picture and --json have them all


def main(argv: Sequence[str]) -> int:
    """Run the command; exit code 1 where int8 is not recommended (the file is written all the same)."""
    args = _parser().parse_args(argv)
    out = Output(args.json)
    lite = args.model.suffix.lower() == ".tflite"
    _refuse_flags(args, lite)
    options = _options(args)
    if args.sensitivity:
        return _sensitivity(args, out, options)
    kind = "fp16" if args.scheme == "fp16" else "int8"
    target = args.out or args.model.with_name(f"{args.model.stem}-{kind}{'.tflite' if lite else '.onnx'}")
    _refuse_existing(args, target)
    report = _quantised(args, target, options, out, lite=lite)
    _tell(out, report)
    out.result(report.to_dict())
    return 0 if report.recommended else 1


def _parser() -> Parser:
    p = Parser("quantize", "Make an int8 version of a model, and say whether it is worth having.", EXAMPLES)
    p.add_argument("model", type=Path, help=tr("fp32 model file that imago export wrote"))
    p.add_argument(
        "--calibrate", type=Path, required=True, metavar="DATA", help=tr("the data set it was trained on")
    )
    add_data_options(p)
    p.add_argument(
        "-o", "--out", type=Path, help=tr("int8 model file (default: <model>-int8 and its suffix)")
    )
    p.add_argument("--count", type=int, default=256, help=tr("calibration pictures (%(default)s)"))
    p.add_argument("--max-drop", type=float, default=0.5, help=tr("points that may be lost (%(default)s)"))
    p.add_argument(
        "--precision",
        choices=("auto", "int8", "int8-weights"),
        help=tr(
            "int8: integer arithmetic; int8-weights: small file, float arithmetic; "
            "auto (the default): integers where they are faster here and good enough"
        ),
    )
    p.add_argument("--force", action="store_true", help=tr("replace files that exist"))
    add_json(p)
    _add_onnx(p)
    add_qat(p)
    p.add_argument_group(tr("for .tflite models")).add_argument(
        "--scheme",
        choices=("mixed", "static", "dynamic", "weights", "fp16"),
        help=tr(
            "exactly this, instead of --precision: static: integers; mixed: the same, but float activations "
            "where integers lose too much; dynamic: float activations everywhere; weights: int8-weights"
        ),
    )
    return p


def _add_onnx(parser: Parser) -> None:
    group = parser.add_argument_group(tr("for .onnx models"))
    group.add_argument(
        "--no-mixed", action="store_true", help=tr("keep no layer float, even where too much is lost")
    )
    group.add_argument(
        "--sensitivity",
        action="store_true",
        help=tr("show which layers int8 hurts (table, and picture beside the model) and write no model"),
    )


def add_qat(parser: Parser) -> None:
    """The flags of quantisation-aware training; ``qat_options`` reads them back."""
    group = parser.add_argument_group(tr("quantisation-aware training"))
    group.add_argument(
        "--qat", action="store_true", help=tr("train on with int8 arithmetic where the gate is missed")
    )
    group.add_argument("--qat-epochs", type=int, metavar="N", help=tr("passes over the training pictures"))
    group.add_argument("--threads", type=int, default=0, help=tr("CPU threads (0: all cores)"))


def qat_options(args: argparse.Namespace) -> QatOptions | None:
    """``QatOptions`` from parsed arguments, or None where there is to be no such training."""
    if not args.qat:
        if args.qat_epochs is not None:
            raise InputError("--qat-epochs needs --qat")
        return None
    from imago.quantize.qat.session import QatOptions

    epochs = QatOptions().epochs if args.qat_epochs is None else args.qat_epochs
    return QatOptions(epochs=epochs, threads=args.threads)


def _refuse_flags(args: argparse.Namespace, lite: bool) -> None:
    """Flags that do not fit the kind of file, or each other."""
    for name in ONNX_ONLY if lite else ("scheme",):
        if getattr(args, name):
            raise InputError(
                "--{flag} is for {suffix} models; leave it out for {path}",
                flag=name.replace("_", "-"),
                suffix=".onnx" if lite else ".tflite",
                path=args.model,
            )
    if args.scheme and args.precision:
        raise InputError("give --scheme or --precision, not both")
    if args.sensitivity and args.qat:
        raise InputError("--sensitivity writes no model, so that there is nothing to train; leave --qat out")


def _options(args: argparse.Namespace) -> QuantiseOptions:
    from imago.quantize.options import QuantiseOptions

    return QuantiseOptions(
        calibration=args.count,
        max_drop=args.max_drop,
        precision=args.precision or "auto",
        mixed=not args.no_mixed,
        data=data_options(args),
        qat=qat_options(args),
    )


def _quantised(
    args: argparse.Namespace, target: Path, options: QuantiseOptions, out: Output, *, lite: bool
) -> QuantiseReport:
    if lite:
        from imago.quantize.tflite import quantise_tflite

        return quantise_tflite(args.model, args.calibrate, target, options, args.scheme)
    from imago.quantize.session import quantise_file

    return quantise_file(args.model, args.calibrate, target, options, say=out.say)


def _refuse_existing(args: argparse.Namespace, target: Path) -> None:
    if target.exists() and not args.force:
        raise StorageError("{path} exists already; add --force to replace it", path=target)


def _sensitivity(args: argparse.Namespace, out: Output, options: QuantiseOptions) -> int:
    from imago.quantize.sensitivity_chart import write_sensitivity_chart
    from imago.quantize.session import file_sensitivities

    picture = (args.out or args.model).with_name(f"{args.model.stem}-sensitivity.png")
    _refuse_existing(args, picture)
    layers = file_sensitivities(args.model, args.calibrate, options)
    write_sensitivity_chart(picture, layers, args.model.stem)
    _tell_layers(out, layers)
    out.say(tr("wrote {model}", model=f"{picture}, {picture.with_suffix('.svg').name}"))
    out.result(
        {
            "model": str(args.model),
            "picture": str(picture),
            "layers": [layer.to_dict() for layer in layers],
        }
    )
    return 0


def _tell_layers(out: Output, layers: Sequence[LayerSensitivity]) -> None:
    out.say(tr("how far the answers move (KL divergence, nats); SQNR of the logits"))
    out.say(tr("int8 alone   SQNR, dB   saved if float     MACs   layer"))
    for layer in sorted(layers, key=lambda x: x.alone, reverse=True)[:SHOWN]:
        out.say(
            f"{layer.alone:10.2e}   {layer.sqnr_db:8.1f}   {layer.gain:+14.2e}   "
            f"{layer.macs / 1e6:5.2f}M   {layer.label} ({layer.operator})"
        )
    if len(layers) > SHOWN:
        out.say(tr("… and {n} less sensitive layers", n=len(layers) - SHOWN))


def _tell(out: Output, r: QuantiseReport) -> None:
    versions = r.versions
    fp32 = versions[0].fp32_us
    data = tr(" (generated data)") if r.generated else ""
    n = tr("accuracy on {n} {split} pictures{data}", n=r.drop.n, split=r.split, data=data)
    out.say(_row("fp32", (v.precision for v in versions)))
    out.say(_row(f"{r.fp32_accuracy:.2%}", (f"{v.accuracy:.2%}" for v in versions), n))
    out.say(_row(f"{r.fp32_bytes / 1000:.1f}", (f"{v.bytes / 1000:.1f}" for v in versions), tr("size, kB")))
    times = (f"{v.us * fp32 / v.fp32_us:.0f}" for v in versions)  # each was raced against fp32 by itself
    out.say(_row(f"{fp32:.0f}", times, tr("p50, µs: engine alone, one thread, side by side")))
    for version in versions:
        _tell_version(out, version)
    in_float = getattr(r, "float_operators", None)
    if in_float:
        out.say(tr("in float: {operators}", operators=", ".join(f"{k} {n}×" for k, n in in_float.items())))
    out.say(r.reason())
    out.say(tr("wrote {model}", model=r.target))


def _row(first: str, others: Iterable[str], label: str = "") -> str:
    """Numbers first: whatever the language of the label, the columns stand."""
    return "".join(f"{cell:>14}" for cell in (first, *others)) + f"   {label}".rstrip()


def _tell_version(out: Output, v: Measured) -> None:
    low, high = v.drop.interval
    out.say(
        tr(
            "{precision}: {drop} points lost, 95 % interval {low} to {high} ({scheme})",
            precision=v.precision,
            drop=f"{v.drop.drop:+.2f}",
            low=f"{low:+.2f}",
            high=f"{high:+.2f}",
            scheme=v.scheme,
        )
    )
    if v.kernels is not None and v.kernels.integer:
        out.say(
            tr(
                "   {n} nodes run in integers; float: {floats}; conversions between the two: {conversions}",
                n=v.kernels.integer,
                floats=v.kernels.summary() or "-",
                conversions=v.kernels.conversions,
            )
        )
    if v.floats:
        out.say(tr("   kept float, since int8 lost too much there: {layers}", layers=", ".join(v.floats)))
