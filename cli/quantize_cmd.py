"""``imago quantize``: an int8 version of a model file, and a word on whether it is worth having."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imago.cli.common import Output, Parser, add_json
from imago.cli.data_args import add_data_options, data_options
from imago.edge_runtime.errors import InputError, StorageError
from imago.edge_runtime.messages import tr

if TYPE_CHECKING:
    from imago.quantize.qat.session import QatOptions
    from imago.quantize.session import QuantiseReport

EXAMPLES = (
    "imago quantize insects.onnx --calibrate photos/",
    "imago quantize insects.onnx --calibrate photos/ -o small.onnx --max-drop 1",
    "imago quantize insects.tflite --calibrate photos/ --scheme fp16",
    "imago quantize insects.onnx --calibrate photos/ --qat      # train on where int8 loses too much",
)


def main(argv: Sequence[str]) -> int:
    """Run the command; exit code 1 where int8 is not recommended (the file is written all the same)."""
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
        "--scheme",
        choices=("mixed", "static", "dynamic", "fp16"),
        help=tr("for .tflite: mixed (the default) keeps float activations where int8 loses too much"),
    )
    add_qat(p)
    p.add_argument("--force", action="store_true", help=tr("replace files that exist"))
    add_json(p)
    args = p.parse_args(argv)
    out = Output(args.json)
    from imago.quantize.session import QuantiseOptions, quantise_file

    options = QuantiseOptions(
        calibration=args.count, max_drop=args.max_drop, data=data_options(args), qat=qat_options(args)
    )
    lite = args.model.suffix.lower() == ".tflite"
    if args.scheme is not None and not lite:
        raise InputError("--scheme is for .tflite models; leave it out for {path}", path=args.model)
    if options.qat is not None and lite:
        raise InputError("--qat is for .onnx models; leave it out for {path}", path=args.model)
    kind = "fp16" if args.scheme == "fp16" else "int8"
    target = args.out or args.model.with_name(f"{args.model.stem}-{kind}{'.tflite' if lite else '.onnx'}")
    if target.exists() and not args.force:
        raise StorageError("{path} exists already; add --force to replace it", path=target)
    if lite:
        from imago.quantize.tflite import quantise_tflite

        report: QuantiseReport = quantise_tflite(
            args.model, args.calibrate, target, options, args.scheme or "mixed"
        )
    else:
        report = quantise_file(args.model, args.calibrate, target, options, say=out.say)
    _tell(out, report)
    out.result(report.to_dict())
    return 0 if report.recommended else 1


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


def _tell(out: Output, r: QuantiseReport) -> None:
    low, high = r.drop.interval
    data = tr(" (generated data)") if r.generated else ""
    out.say(tr("                 fp32       int8"))
    out.say(
        tr(
            "accuracy     {fp32}   {int8}   on {n} {split} pictures{data}",
            fp32=f"{r.fp32_accuracy:8.2%}",
            int8=f"{r.int8_accuracy:8.2%}",
            n=r.drop.n,
            split=r.split,
            data=data,
        )
    )
    out.say(
        tr(
            "size, kB     {fp32}   {int8}",
            fp32=f"{r.fp32_bytes / 1000:8.1f}",
            int8=f"{r.int8_bytes / 1000:8.1f}",
        )
    )
    out.say(
        tr(
            "p50, µs      {fp32}   {int8}   engine alone, one thread",
            fp32=f"{r.fp32_us:8.0f}",
            int8=f"{r.int8_us:8.0f}",
        )
    )
    out.say(
        tr(
            "drop: {drop} points, 95 % interval {low} to {high} ({scheme})",
            drop=f"{r.drop.drop:+.2f}",
            low=f"{low:+.2f}",
            high=f"{high:+.2f}",
            scheme=r.scheme,
        )
    )
    in_float = getattr(r, "float_operators", None)
    if in_float:
        out.say(tr("in float: {operators}", operators=", ".join(f"{k} {n}×" for k, n in in_float.items())))
    out.say(r.reason())
    out.say(tr("wrote {model}", model=r.target))
