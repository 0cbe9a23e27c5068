"""``imago compress``: a trained run → the smallest and fastest file whose accuracy holds."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from imago.cli.common import Output, Parser, add_json, size_in_bytes
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr

if TYPE_CHECKING:
    from imago.workflow.compress.options import CompressOptions
    from imago.workflow.compress.session import Timer

EXAMPLES = (
    "imago compress runs/insects-mobilenet_v2",
    "imago compress runs/insects-mobilenet_v2 --max-drop 1 --max-latency 8ms --max-size 1MB",
    "imago compress runs/insects-lenet5 --macs 0.5 0.25 0.1 --epochs 20 -o small/",
    "imago compress runs/insects-lenet5 -o small/        # again: goes on where it was stopped",
    "imago compress runs/insects-mobilenet_v2 --on pi@trap-7 --max-latency 40ms  # timed on the board",
)


def main(argv: Sequence[str]) -> int:
    """Run the command; exit code 1 where nothing is inside the gates."""
    args = _parser().parse_args(argv)
    out = Output(args.json)
    options = _options(args)
    from imago.workflow.compress.session import compress

    folder = args.out or args.run.resolve().with_name(f"{args.run.resolve().name}-compressed")
    with ExitStack() as stack:
        timer = _board_timer(args, stack, out) if args.on else None
        report = compress(args.run, folder, options, data=args.data, say=out.say, timer=timer)
    out.say(tr("use {model} ({kb} kB)", model=report.best, kb=report.best.stat().st_size // 1000))
    out.result(report.to_dict())
    return 0


def _parser() -> Parser:
    p = Parser(
        "compress",
        "Prune, quantise and measure many versions of a network; hand out the best inside the gates.",
        EXAMPLES,
    )
    p.add_argument("run", type=Path, help=tr("folder that imago train wrote"))
    p.add_argument("-o", "--out", type=Path, help=tr("folder for everything (default: <run>-compressed)"))
    p.add_argument("--data", type=Path, help=tr("the data set, where it has moved since the training"))
    gates = p.add_argument_group(tr("gates"))
    gates.add_argument(
        "--max-drop", type=float, default=0.5, help=tr("points that may be lost (%(default)s)")
    )
    gates.add_argument("--max-latency", help=tr("such as 8ms: p50 of the engine alone, one thread"))
    gates.add_argument("--max-size", help=tr("such as 300kB or 1MB: the model file"))
    work = p.add_argument_group(tr("candidates"))
    work.add_argument(
        "--macs", type=float, nargs="*", default=[0.5, 0.25], help=tr("shares that pruning keeps (0.5 0.25)")
    )
    work.add_argument("--formats", nargs="+", choices=("onnx", "tflite"), default=["onnx"], help="(onnx)")
    work.add_argument("--epochs", type=int, default=0, help=tr("of retraining (default: half of the run's)"))
    work.add_argument(
        "--teacher",
        type=Path,
        metavar="RUN",
        help=tr("run to learn from while retraining, such as a larger one"),
    )
    work.add_argument("--count", type=int, default=256, help=tr("calibration pictures (%(default)s)"))
    work.add_argument(
        "--qat-epochs", type=int, default=3, help=tr("of fine-tuning where int8 loses too much (%(default)s)")
    )
    work.add_argument("--threads", type=int, default=0, help=tr("CPU threads (0: all cores)"))
    board = p.add_argument_group(tr("times"))
    board.add_argument(
        "--on",
        metavar="[USER@]HOST",
        help=tr("time the files on this board, which runs a bundle already (default: on this machine)"),
    )
    board.add_argument("--ssh-config", type=Path, metavar="FILE", help=tr("instead of ~/.ssh/config"))
    add_json(p)
    return p


def _board_timer(args: argparse.Namespace, stack: ExitStack, out: Output) -> Timer:
    """Asks the board at once: hours of making files end with it. Raises DeployError."""
    from imago.deploy.push.remote import Remote
    from imago.deploy.push.ssh import Ssh, Target
    from imago.deploy.push.timing import require_release, times_on

    ssh = stack.enter_context(Ssh(Target(args.on, config=args.ssh_config)))
    remote = Remote(ssh, "/opt/imago", say=lambda text: out.say(f"· {text}"))
    require_release(remote)
    return partial(times_on, remote)


def _options(args: argparse.Namespace) -> CompressOptions:
    from imago.workflow.compress.choose import Gates
    from imago.workflow.compress.options import CompressOptions

    return CompressOptions(
        gates=Gates(
            max_drop=args.max_drop,
            max_latency_us=microseconds(args.max_latency),
            max_bytes=size_in_bytes(args.max_size) if args.max_size else 0,
        ),
        macs=tuple(args.macs),
        engines=tuple(args.formats),
        epochs=args.epochs,
        calibration=args.count,
        qat_epochs=args.qat_epochs,
        threads=args.threads,
        teacher=str(args.teacher.resolve()) if args.teacher is not None else None,
    )


def microseconds(text: str | None) -> float:
    """``8ms`` → 8000.0, ``500us`` → 500.0; None → 0. Raises InputError."""
    if text is None:
        return 0.0
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(us|µs|ms|s)\s*", text)
    if found is None or float(found[1]) <= 0:
        raise InputError("--max-latency is {value}; expected a time such as 8ms or 500us", value=text)
    return float(found[1]) * {"us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6}[found[2]]
