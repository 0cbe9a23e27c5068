"""``imago search``: a budget of time → the best network and settings for these pictures, and the reasons."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imago.cli.common import Output, Parser, add_json
from imago.cli.compress_cmd import microseconds
from imago.cli.data_args import add_data_options, data_options
from imago.cli.train_cmd import free_folder
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr
from imago.train.config import DEVICES

if TYPE_CHECKING:
    from imago.workflow.search.options import SearchOptions
    from imago.workflow.search.session import SearchReport

EXAMPLES = (
    "imago search photos/                                # 20 minutes on all cores",
    "imago search photos/ --budget 2h --max-latency 5ms",
    "imago search photos/ --models mobilenet_v3_small mobilenet_v2 --pretrained",
    "imago search --resume runs/photos-search            # after Ctrl-C or a power cut",
    "imago search photos/ --storage postgresql://lab@server/imago --budget 8h",
    "imago search photos/ --storage postgresql://lab@server/imago --join -o help/    # on other machines",
)
MOST_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = _parser().parse_args(argv)
    out = Output(args.json)
    if (args.data is None) == (args.resume is None):
        raise InputError("give either a folder of pictures or --resume OUT; imago search --help explains")
    if args.join:
        return _join(args, out)
    if args.resume is not None:
        from imago.workflow.search.session import resume

        report = resume(args.resume, budget_s=_seconds(args.budget), say=out.say)
    else:
        options = _options(args)
        from imago.workflow.search.session import search

        folder = args.out or free_folder(Path("runs") / f"{args.data.resolve().name}-search")
        report = search(args.data, options, folder, storage=args.storage, say=out.say)
    _tell(out, report)
    return 0


def _parser() -> Parser:
    p = Parser(
        "search",
        "Try networks and settings for a given time; train the best on, and say why it is the best.",
        EXAMPLES,
    )
    p.add_argument("data", nargs="?", type=Path, help=tr("folder with one folder of pictures per class"))
    p.add_argument("-o", "--out", type=Path, help=tr("folder for everything (default: runs/<data>-search)"))
    p.add_argument("--resume", type=Path, metavar="OUT", help=tr("go on with an interrupted search"))
    p.add_argument("--budget", metavar="TIME", help=tr("time for everything: 90s, 20m, 2h (default: 20m)"))
    p.add_argument("--max-latency", help=tr("such as 8ms: p50 of the engine alone, on this machine"))
    p.add_argument("--trials", type=int, default=0, help=tr("settings to try (default: as many as fit)"))
    space = p.add_argument_group(tr("what may be chosen"))
    space.add_argument("--models", nargs="+", metavar="NAME", help=tr("networks (imago models lists them)"))
    space.add_argument(
        "--pretrained", action="store_true", help=tr("also start from ImageNet weights, frozen or not")
    )
    space.add_argument(
        "--weights", type=Path, help=tr("also start from this weights file (no internet needed)")
    )
    space.add_argument(
        "--epochs", type=int, default=0, help=tr("of a first trial (default: a share of the time)")
    )
    space.add_argument("--seed", type=int, default=0, help=tr("another seed tries other settings"))
    work = p.add_argument_group(tr("who works"))
    work.add_argument(
        "--workers",
        type=int,
        default=0,
        help=tr("settings tried at the same time (default: one per core, up to 4)"),
    )
    work.add_argument("--threads", type=int, default=0, help=tr("CPU threads of each worker"))
    work.add_argument("--device", choices=DEVICES, default="auto", help="(%(default)s)")
    work.add_argument(
        "--storage", metavar="URL|FILE", help=tr("where trials are kept (default: <out>/trials.journal)")
    )
    work.add_argument(
        "--join", action="store_true", help=tr("help a search that runs elsewhere on the same --storage")
    )
    for name, kind in (("--worker", int), ("--study", str)):  # the search's own processes
        work.add_argument(name, type=kind, help=argparse.SUPPRESS)
    add_data_options(p)
    add_json(p)
    return p


def _options(args: argparse.Namespace) -> SearchOptions:
    from imago.workflow.search.options import SearchOptions

    default = SearchOptions()
    return SearchOptions(
        budget_s=_seconds(args.budget) or default.budget_s,
        max_latency_us=microseconds(args.max_latency),
        trials=args.trials,
        epochs=args.epochs,
        models=tuple(args.models or default.models),
        pretrained=args.pretrained,
        weights=args.weights.absolute() if args.weights else None,
        workers=args.workers,
        threads=args.threads,
        device=args.device,
        seed=args.seed,
        data=data_options(args),
    )


def _seconds(text: str | None) -> float | None:
    """``20m`` → 1200.0. Raises InputError."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd])\s*", text)
    if found is None:
        raise InputError("--budget is {value}; expected a time such as 90s, 20m or 2h", value=text)
    return float(found[1]) * MOST_S[found[2]]


def _join(args: argparse.Namespace, out: Output) -> int:
    """Work for a search that another process leads."""
    if args.storage is None or args.out is None:
        raise InputError("--join needs the search's --storage, and --out for what is trained here")
    from imago.train.data.layouts import load_dataset
    from imago.workflow.search.crew import stop_with_parent
    from imago.workflow.search.options import MOST_WORKERS
    from imago.workflow.search.session import study_name
    from imago.workflow.search.worker import Job, Worker

    if args.worker is not None:
        stop_with_parent()
    job = Job(
        data=args.data,
        storage=args.storage,
        study=args.study or study_name(load_dataset(args.data, data_options(args))),
        out=args.out,
        number=os.getpid() + MOST_WORKERS if args.worker is None else args.worker,
        threads=args.threads,
        device=args.device,
    )
    done = Worker(job, out.say).run()
    out.say(tr("nothing left to do; {n} trials done here", n=done))
    out.result({"trials": done})
    return 0


def _tell(out: Output, report: SearchReport) -> None:
    out.say("")
    out.say(report.paragraph)
    out.say(
        tr("saved in {folder}; pictures: {report}", folder=report.run, report=report.folder / "report.html")
    )
    out.say(tr("use {model} ({kb} kB)", model=report.model, kb=report.model.stat().st_size // 1000))
    out.say(tr("next: imago compress {folder}", folder=report.run))
    out.result(report.to_dict())
