"""``imago tune``: measure several model files on this board, and lock the best choice for ``imago run``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imago.cli.bundle_args import with_variants
from imago.cli.common import Output, Parser, add_json
from imago.cli.model_args import counts, number, positive, size
from imago.edge_runtime.messages import tr

if TYPE_CHECKING:
    from imago.edge_runtime.tune import Tuning

EXAMPLES = (
    "imago tune insects.onnx insects-int8.onnx --threads 1,2,4",
    "imago tune *.onnx *.tflite --max-drop 1 --out tune.json",
    "imago tune insects.imago                        every variant in a bundle",
    "imago run --tuned tune.json --source picamera",
)


def parser() -> Parser:
    """The argument parser."""
    p = Parser("tune", "Measure model files on this board, and lock the best choice.", EXAMPLES)
    p.add_argument("models", nargs="+", type=Path, metavar="MODEL", help=tr("model files of the same task"))
    p.add_argument(
        "--threads",
        type=counts,
        metavar="N,…",
        help=tr("thread counts to try (1, 2, 4 as far as there are cores)"),
    )
    p.add_argument(
        "--max-drop",
        type=number,
        default=0.5,
        help=tr("points of accuracy that may be lost against the best file (0.5; 100: no gate)"),
    )
    p.add_argument("--rounds", type=positive, default=5, help=tr("fresh processes for each candidate (5)"))
    p.add_argument("--runs", type=positive, default=40, help=tr("timed runs in each process (40)"))
    p.add_argument(
        "--frame",
        type=size,
        metavar="WxH",
        default=(640, 480),
        help=tr("size of the camera's picture (640x480)"),
    )
    p.add_argument(
        "--out", type=Path, default=Path("tune.json"), help=tr("where the choice goes (tune.json)")
    )
    add_json(p)
    return p


def main(argv: Sequence[str]) -> int:
    """Run the command; exit code 1 where no file passes the accuracy gate."""
    args = parser().parse_args(argv)
    out = Output(args.json)
    args.models = with_variants(args.models)
    from imago.edge_runtime.progress import Progress
    from imago.edge_runtime.tune import TuneOptions, available_threads, tune
    from imago.edge_runtime.tuned import write_tuned

    threads = args.threads or available_threads()
    options = TuneOptions(
        threads=threads, max_drop=args.max_drop, rounds=args.rounds, runs=args.runs, frame=args.frame
    )
    total = options.rounds * len(dict.fromkeys(args.models)) * len(dict.fromkeys(threads))
    with Progress(total, tr("measuring")) as bar:
        tuning = tune(args.models, options, advance=lambda name: bar.advance(note=name))
    _tell(out, tuning)
    data = write_tuned(args.out, tuning, max_drop=options.max_drop)
    out.say(tr("locked in {path}; use it with: imago run --tuned {path} --source …", path=args.out))
    out.result(data)
    return 0


def _tell(out: Output, tuning: Tuning) -> None:
    out.say(f"{'p50 µs':>10}  {'threads':>7}  {'top-1':>7}  {'':<8}{tr('model')}")
    for c in tuning.candidates:
        top1 = "?" if c.accuracy.top1 is None else f"{c.accuracy.top1:.2%}"
        mark = "  ←" if c is tuning.chosen else f"  ({c.refused})" if c.refused else ""
        out.say(
            f"{c.p50_us:>10.1f}  {c.threads:>7}  {top1:>7}  {c.precision:<8}{c.model.name}, {c.engine}{mark}"
        )
