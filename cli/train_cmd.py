"""``imago train``: photos in folders → a run folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from imago.cli.common import Output, Parser, add_json
from imago.cli.data_args import add_data_options, data_options
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.spec import FITS
from imago.train import config as choices
from imago.train.config import TrainConfig
from imago.train.models.plan import NET, read_plan

if TYPE_CHECKING:
    from imago.train.results import Outcome

EXAMPLES = (
    "imago train photos/                                 # LeNet-5, defaults",
    "imago train photos/ --model mobilenet_v3_small --size 96 --epochs 60",
    "imago train photos/ --model resnet18 --pretrained --freeze backbone --unfreeze-every 3",
    "imago train mosquitoes/ --split-file mosquitoes/split.csv --out runs/mosquito",
    "imago train photos/ --model mobilenet_v3_small --width 0.5 --teacher runs/photos-resnet18",
    "imago train photos/ --init runs/photos-lenet5 --lr 0.0005 --epochs 10    # go on from a finished run",
    "imago train photos/ --net my.json                    # a network of your own (imago.train.Net)",
    "imago train --resume runs/photos-lenet5              # after Ctrl-C or a power cut",
)


def parser() -> Parser:
    """The argument parser; its defaults are those of TrainConfig."""
    p = Parser("train", "Train a network on photos in folders (one folder per class).", EXAMPLES)
    p.add_argument("data", nargs="?", type=Path, help=tr("folder with one folder of pictures per class"))
    p.add_argument("--out", type=Path, help=tr("run folder (default: runs/<data>-<model>)"))
    p.add_argument("--resume", type=Path, metavar="RUN", help=tr("go on with an interrupted run"))
    default = TrainConfig()
    group = p.add_argument_group(tr("network"))
    group.add_argument("--model", default="", help=f"{tr('imago models lists them')} ({default.model})")
    group.add_argument(
        "--net",
        type=read_plan,
        metavar="FILE",
        help=tr("a network of your own: what Net.save() or the builder wrote"),
    )
    group.add_argument(
        "--init", type=Path, metavar="RUN", help=tr("start from this finished run: its network and weights")
    )
    group.add_argument(
        "--width",
        dest="width_mult",
        metavar="F",
        type=float,
        help=tr("factor on its channel counts, e.g. 0.5"),
    )
    group.add_argument("--size", type=int, default=default.size, help=tr("side of the input in pixels"))
    group.add_argument(
        "--stem", type=int, help=tr("halvings at the start to leave out, 0 to 2 (default: by size)")
    )
    group.add_argument("--fit", choices=FITS, help=f"{tr('how a photo becomes a square')} (center-crop)")
    group.add_argument("--pretrained", action="store_true", help=tr("start from ImageNet weights"))
    group.add_argument("--weights", type=Path, help=tr("start from this weights file (no internet needed)"))
    group.add_argument("--freeze", default=default.freeze, help=tr("none, backbone or a number of blocks"))
    group.add_argument("--unfreeze-every", type=int, default=0, help=tr("epochs until one more block learns"))
    _training_flags(p, default)
    add_data_options(p)
    add_json(p)
    return p


def _training_flags(p: argparse.ArgumentParser, default: TrainConfig) -> None:
    group = p.add_argument_group(tr("training"))
    number: dict[str, tuple[type, str]] = {
        "epochs": (int, "passes over the training pictures"),
        "batch_size": (int, "pictures per step"),
        "momentum": (float, "for --optimizer momentum and rmsprop"),
        "warmup": (float, "share of the steps in which the rate rises"),
        "label_smoothing": (float, "0 to 0.9"),
        "ema": (float, "decay of the weight average (0: off)"),
        "patience": (int, "stop after so many epochs without progress (0: never)"),
        "distill_weight": (float, "share of the teacher in the loss, 0 to 1"),
        "distill_temperature": (float, "softens the teacher's answers"),
        "threads": (int, "CPU threads (0: all cores)"),
        "seed": (int, "same seed, same run"),
    }
    for name, (kind, text) in number.items():
        flag = "--" + name.replace("_", "-")
        group.add_argument(flag, type=kind, default=getattr(default, name), help=f"{tr(text)} (%(default)s)")
    group.add_argument(
        "--teacher", type=Path, metavar="RUN", help=tr("learn from this finished run too (distillation)")
    )
    group.add_argument("--lr", type=float, help=tr("peak learning rate (default: fits the optimiser)"))
    group.add_argument("--weight-decay", type=float, help=tr("default: fits the optimiser"))
    for name, values in {
        "optimizer": choices.OPTIMIZERS,
        "schedule": choices.SCHEDULES,
        "augment": choices.AUGMENTATIONS,
        "class_weights": choices.CLASS_WEIGHTS,
        "device": choices.DEVICES,
        "precision": choices.PRECISIONS,
    }.items():
        flag = "--" + name.replace("_", "-")
        group.add_argument(flag, default=getattr(default, name), choices=values, help="(%(default)s)")


def config_from(args: argparse.Namespace) -> TrainConfig:
    """TrainConfig from parsed arguments."""
    values = {f.name: getattr(args, f.name) for f in fields(TrainConfig) if f.name != "data"}
    return TrainConfig(**values, data=data_options(args))


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    out = Output(args.json)
    if (args.data is None) == (args.resume is None):
        raise InputError("give either a folder of pictures or --resume RUN; imago train --help explains")
    config = None if args.resume else config_from(args)  # bad flags are told before torch loads
    from imago.train import session

    if config is None:
        outcome = session.resume(args.resume, say=out.say)
    else:
        folder = args.out or free_folder(Path("runs") / f"{args.data.resolve().name}-{_named(config)}")
        outcome = session.train(args.data, config, folder, say=out.say)
    _tell(out, outcome)
    return 0


def free_folder(wanted: Path) -> Path:
    """``wanted``, or the first of ``wanted-2``, ``wanted-3`` … that does not exist."""
    number, path = 1, wanted
    while path.exists():
        number += 1
        path = wanted.with_name(f"{wanted.name}-{number}")
    return path


def _named(config: TrainConfig) -> str:
    """The network in a form fit for a folder's name."""
    model = config.model
    if not model and config.init is not None:
        from imago.train.run import Run

        model = str(Run.load(config.init).model["name"])
    model = model.removeprefix(NET)
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in model)


def _tell(out: Output, outcome: Outcome) -> None:
    data: dict[str, object] = {"run": str(outcome.folder), "epochs": outcome.epochs}
    for name, result in (("val", outcome.val), ("test", outcome.test)):
        if result is None:
            continue
        low, high = result.interval
        out.say(
            tr(
                "{split}: {accuracy} of {n} pictures right (95 % interval {low} to {high})",
                split=name,
                accuracy=f"{result.accuracy:.2%}",
                n=result.n,
                low=f"{low:.1%}",
                high=f"{high:.1%}",
            )
        )
        data[name] = result.to_dict()
    shown = outcome.test or outcome.val
    if shown is not None:
        data.update(accuracy=shown.accuracy, n=shown.n)
    out.say(
        tr(
            "saved in {folder}; pictures: {report}",
            folder=outcome.folder,
            report=outcome.folder / "report.html",
        )
    )
    out.say(tr("next: imago export {folder}", folder=outcome.folder))
    out.result(data)
