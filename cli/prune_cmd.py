"""``imago prune``: a trained run → a smaller one, retrained, with the figures of both."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from imago.cli.common import Output, Parser, add_json, size_in_bytes
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr

if TYPE_CHECKING:
    from imago.quantize.pruning.options import PruneOptions
    from imago.quantize.pruning.session import PruneReport

EXAMPLES = (
    "imago prune runs/photos-mobilenet_v2 --macs 0.5             # half of the multiplications",
    "imago prune runs/photos-resnet18 --params 0.2 --steps 5 --epochs 30 -o runs/small",
    "imago prune runs/photos-lenet5 --size 25kB --precision int8  # what the int8 file may weigh",
    "imago prune runs/photos-mobilenet_v2 --macs 0.2 --teacher runs/photos-resnet18 --epochs 30",
    "imago prune --resume runs/small                              # after Ctrl-C or a power cut",
)


def parser() -> Parser:
    """The argument parser; its defaults are those of PruneOptions."""
    from imago.quantize.pruning.options import IMPORTANCES, PRECISIONS, PruneOptions
    from imago.train.config import DEVICES

    default = {f.name: f.default for f in fields(PruneOptions)}
    p = Parser("prune", "Make a trained network smaller: remove the channels that matter least.", EXAMPLES)
    p.add_argument("run", nargs="?", type=Path, help=tr("run folder that imago train wrote"))
    p.add_argument("-o", "--out", type=Path, help=tr("new run folder (default: runs/<run>-pruned)"))
    p.add_argument("--resume", type=Path, metavar="OUT", help=tr("go on with an interrupted pruning"))
    p.add_argument("--data", type=Path, metavar="DIR", help=tr("where the run's pictures are now"))
    goal = p.add_argument_group(tr("goal (exactly one)"))
    goal.add_argument(
        "--macs", type=float, metavar="F", help=tr("share of the multiplications to keep, such as 0.5")
    )
    goal.add_argument("--params", type=float, metavar="F", help=tr("share of the parameters to keep"))
    goal.add_argument("--size", metavar="S", help=tr("size of the exported file, such as 300kB"))
    goal.add_argument(
        "--precision",
        default=default["precision"],
        choices=PRECISIONS,
        help=tr("what --size means: the fp32 file or the int8 file (%(default)s)"),
    )
    _how(p, default, IMPORTANCES, DEVICES)
    add_json(p)
    return p


def _how(
    p: argparse.ArgumentParser,
    default: dict[str, object],
    importances: Sequence[str],
    devices: Sequence[str],
) -> None:
    group = p.add_argument_group(tr("method"))
    group.add_argument(
        "--importance",
        default=default["importance"],
        choices=importances,
        help=tr("which channels go first (%(default)s)"),
    )
    number = {
        "steps": "prunings, each followed by a retraining",
        "epochs": "of the last retraining (0: half of what the run had); the others have a fifth of it",
        "pictures": "training pictures on which channels are weighed",
        "threads": "CPU threads (0: all cores)",
    }
    for name, text in number.items():
        group.add_argument(f"--{name}", type=int, default=default[name], help=f"{tr(text)} (%(default)s)")
    group.add_argument(
        "--teacher", metavar="RUN", help=tr("run to learn from while retraining, such as a larger one")
    )
    group.add_argument("--lr", type=float, help=tr("peak learning rate (default: half of the run's)"))
    group.add_argument("--device", default=default["device"], choices=devices, help="(%(default)s)")


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    out = Output(args.json)
    if (args.run is None) == (args.resume is None):
        raise InputError("give either a run or --resume OUT; imago prune --help explains")
    options = _options(args) if args.resume is None else None  # bad flags are told before torch loads
    from imago.quantize.pruning import session

    if options is None:
        report = session.resume(args.resume, say=out.say)
    else:
        report = session.prune(args.run, options, _folder(args), data=args.data, say=out.say)
    _tell(out, report)
    out.result(report.to_dict())
    return 0


def _options(args: argparse.Namespace) -> PruneOptions:
    from imago.quantize.pruning.options import PruneOptions

    values = {f.name: getattr(args, f.name) for f in fields(PruneOptions)}
    values["size"] = size_in_bytes(args.size) if args.size is not None else None
    values["teacher"] = str(Path(args.teacher).resolve()) if args.teacher is not None else None
    return PruneOptions(**values)


def _folder(args: argparse.Namespace) -> Path:
    from imago.cli.train_cmd import free_folder

    given: Path | None = args.out
    return given or free_folder(Path("runs") / f"{args.run.resolve().name}-pruned")


def _tell(out: Output, report: PruneReport) -> None:
    from imago.edge_runtime.texttable import table
    from imago.train.pruned_report import macs_unit

    before, after = report.before, report.after
    unit, many = macs_unit(before.macs)
    rows = [
        (tr(name), f"{old / scale:,.1f}", f"{new / scale:,.1f}", f"{new / old:.1%}")
        for name, old, new, scale in (
            (unit, before.macs, after.macs, many),
            ("thousand parameters", before.params, after.params, 1e3),
            ("fp32 ONNX file, kB (estimate)", before.fp32_bytes, after.fp32_bytes, 1e3),
            ("int8 ONNX file, kB (estimate)", before.int8_bytes, after.int8_bytes, 1e3),
        )
    ]
    accuracy = report.facts.get("accuracy", {})
    if report.drop is not None:
        name = tr("accuracy on {n} validation pictures", n=report.drop.n)
        rows.append((name, f"{accuracy['before']:.2%}", f"{accuracy['after']:.2%}", ""))
    out.say()
    for line in table(("", tr("before"), tr("after"), tr("left")), rows, right=(1, 2, 3)):
        out.say(line)
    if report.drop is not None:
        low, high = report.drop.interval
        out.say(
            tr(
                "lost: {drop} points of validation accuracy, 95 % interval {low} to {high}",
                drop=f"{report.drop.drop:+.2f}",
                low=f"{low:+.2f}",
                high=f"{high:+.2f}",
            )
        )
    else:
        out.say(tr("there is no validation split: what accuracy was lost is not known"))
    out.say(tr("saved in {folder}; layer by layer: {picture}", folder=report.folder, picture="pruning.png"))
    out.say(tr("next: imago export {folder}", folder=report.folder))
