"""The model and the flags for models that carry no contract, the same in every command that runs a model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.spec import FITS

if TYPE_CHECKING:
    from imago.edge_runtime.classifier import Classifier
    from imago.edge_runtime.foreign import ForeignOptions


def add_model(parser: argparse.ArgumentParser, *, sweep: bool = False, optional: bool = False) -> None:
    """``MODEL``, ``--threads`` and the flags for foreign models.

    sweep: several thread counts are welcome. optional: MODEL may be left out.
    """
    parser.add_argument(
        "model",
        metavar="MODEL",
        type=Path,
        nargs="?" if optional else None,
        help=tr("model file (.onnx or .tflite)"),
    )
    if sweep:
        text = tr("CPU threads of one inference (1); several, as in 1,2,4, are measured in turns")
        parser.add_argument("--threads", type=counts, metavar="N,…", default=(1,), help=text)
    else:
        parser.add_argument(
            "--threads", type=positive, default=1, help=tr("CPU threads of one inference (1)")
        )
    group = parser.add_argument_group(tr("only for models that imago did not export"))
    group.add_argument(
        "--labels", metavar="FILE|N", help=tr("class names, one per line; or how many there are")
    )
    group.add_argument("--input-size", metavar="WxH", type=size, help=tr("where the model leaves it open"))
    group.add_argument("--input-color", choices=("rgb", "bgr", "gray"), help=tr("order of the colours"))
    group.add_argument("--input-layout", choices=("nchw", "nhwc"), help=tr("channels first or last"))
    group.add_argument("--input-fit", choices=FITS, help=tr("how a picture of another shape is fitted"))
    group.add_argument(
        "--input-scale", type=float, help=tr("pixels are multiplied by this first, e.g. 0.00392157")
    )
    group.add_argument(
        "--input-mean", metavar="M,…", type=numbers, default=(), help=tr("then this is subtracted")
    )
    group.add_argument(
        "--input-std", metavar="S,…", type=numbers, default=(), help=tr("then divided by this")
    )
    group.add_argument("--output", choices=("probabilities", "logits"), help=tr("what the model puts out"))


def open_classifier(args: argparse.Namespace) -> Classifier:
    """The model that ``args`` name; what had to be assumed is said on standard error."""
    from imago.edge_runtime.classifier import Classifier
    from imago.edge_runtime.contract import no_contract, spec_from_metadata
    from imago.edge_runtime.engines.select import load_engine
    from imago.edge_runtime.foreign import foreign_spec

    threads = args.threads[0] if isinstance(args.threads, tuple) else args.threads
    engine = load_engine(args.model, threads)
    spec, options = spec_from_metadata(engine.metadata), _foreign(args)
    if spec is not None and options.given:
        raise InputError(
            "{path} carries its own contract; leave out --labels, --input-… and --output", path=args.model
        )
    if spec is None:
        if not options.labels and options.labels_count is None:
            raise no_contract(args.model)
        spec, assumed = foreign_spec(engine, options, name=args.model.stem)
        for sentence in assumed:
            sys.stderr.write(tr("assumed: {sentence}", sentence=sentence) + "\n")
    return Classifier.from_engine(engine, spec)


def _foreign(args: argparse.Namespace) -> ForeignOptions:
    from imago.edge_runtime.foreign import ForeignOptions, read_labels

    counted = args.labels is not None and args.labels.isdigit() and not Path(args.labels).exists()
    return ForeignOptions(
        labels=read_labels(args.labels) if args.labels and not counted else (),
        labels_count=int(args.labels) if counted else None,
        size=args.input_size,
        color=args.input_color,
        layout=args.input_layout,
        fit=args.input_fit,
        scale=args.input_scale,
        mean=args.input_mean,
        std=args.input_std,
        output=args.output,
    )


def size(text: str) -> tuple[int, int]:
    """``640x480`` or ``224`` → ``(width, height)``."""
    parts = text.lower().replace("×", "x").split("x")
    sides = [int(part) for part in parts if part.isdigit()]
    if len(sides) != len(parts) or len(sides) > 2 or not all(0 < side <= 16384 for side in sides):
        raise argparse.ArgumentTypeError(tr("'{text}' is no size; expected for example 640x480", text=text))
    return sides[0], sides[-1]


def numbers(text: str) -> tuple[float, ...]:
    """``0.485,0.456,0.406`` → three floats."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            tr("'{text}' is no list of numbers; expected for example 0.5,0.5,0.5", text=text)
        ) from None


def counts(text: str) -> tuple[int, ...]:
    """``1,2,4`` → three integers of at least 1."""
    return tuple(positive(part) for part in text.split(","))


def number(text: str) -> float:
    """A finite number of at least 0."""
    value = numbers(text)[0] if "," not in text else -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(tr("'{text}' is no number of 0 or more", text=text))
    return value


def positive(text: str) -> int:
    """An integer of at least 1."""
    if not text.isdigit() or not 0 < int(text) < 10**9:
        raise argparse.ArgumentTypeError(tr("'{text}' is no whole number above 0", text=text))
    return int(text)


def positive_number(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(tr("'{text}' is no number above 0", text=text))
    return value
