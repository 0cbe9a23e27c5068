"""``imago train``: photos in folders → a run folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imago.cli.common import Output, Parser, add_json, size_in_bytes
from imago.cli.data_args import add_data_options, data_options
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.spec import FITS
from imago.train import config as choices
from imago.train.config import TrainConfig
from imago.train.launch import (
    Launch,
    WorkersError,
    end_with_launcher,
    hidden,
    is_worker,
    run_workers,
)
from imago.train.models.plan import NET, read_plan

if TYPE_CHECKING:
    from imago.train.results import Outcome
    from imago.train.team import Team

EXAMPLES = (
    "imago train photos/                                 # LeNet-5, defaults",
    "imago train photos/ --model mobilenet_v3_small --size 96 --epochs 60",
    "imago train photos/ --model resnet18 --pretrained --freeze backbone --unfreeze-every 3",
    "imago train mosquitoes/ --split-file mosquitoes/split.csv --out runs/mosquito",
    "imago train photos/ --model mobilenet_v3_small --width 0.5 --teacher runs/photos-resnet18",
    "imago train photos/ --init runs/photos-lenet5 --lr 0.0005 --epochs 10    # go on from a finished run",
    "imago train photos/ --net my.json                    # a network of your own (imago.train.Net)",
    "imago train --resume runs/photos-lenet5              # after Ctrl-C or a power cut",
    "imago train photos/ --model resnet18 --profile       # and say where the time goes",
    "imago train photos/ --model resnet18 --devices 4     # four GPUs, or four processes on a CPU",
    "imago train photos/ --devices 4 --nodes 2 --node-rank 0 --rendezvous 192.168.1.10:29500",
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
    _means_flags(p)
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
        "mixup": (float, "strength of blending two pictures into one (0: off; usual: 0.2)"),
        "cutmix": (float, "strength of pasting a piece of one picture into another (0: off; usual: 1)"),
        "grow": (float, "share of the training over which pictures grow from half their side (0: off)"),
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


def _means_flags(p: argparse.ArgumentParser) -> None:
    """How the work is done; nothing here changes the result but by rounding."""
    group, launch = p.add_argument_group(tr("machines that work together")), Launch()
    group.add_argument(
        "--devices",
        type=int,
        default=launch.devices,
        metavar="N",
        help=tr("processes that train together on this machine: one per GPU, or sharing its cores"),
    )
    group.add_argument(
        "--nodes", type=int, default=launch.nodes, metavar="M", help=tr("machines that train together")
    )
    group.add_argument(
        "--node-rank",
        type=int,
        default=launch.node_rank,
        metavar="R",
        help=tr("which of them this is, from 0"),
    )
    group.add_argument(
        "--rendezvous", default="", metavar="HOST:PORT", help=tr("where they meet: on the machine of rank 0")
    )
    group.add_argument(
        "--cache-quota",
        metavar="SIZE",
        default="20GB",
        help=tr("size of the cache of decoded pictures (20GB); a larger set is decoded in every epoch"),
    )
    group.add_argument(
        "--profile",
        action="store_true",
        help=tr("measure where the time goes: a table, and profile.json and trace.json in the run"),
    )


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
    launch = Launch(args.devices, args.nodes, args.node_rank, args.rendezvous)
    quota = size_in_bytes(args.cache_quota)
    if config is None:
        folder: Path = args.resume
    else:
        folder = args.out or free_folder(Path("runs") / f"{args.data.resolve().name}-{_named(config)}")
    if not is_worker():
        if launch.world > 1:
            return run_workers(launch, [*argv, *([] if args.resume else ["--out", str(folder)])], folder)
        return _train(args.data, config, folder, out, quota=quota, profile=args.profile)
    return _as_worker(args.data, config, folder, out, quota=quota, profile=args.profile)


def _train(
    data: Path,
    config: TrainConfig | None,
    folder: Path,
    out: Output,
    *,
    quota: int,
    profile: bool,
    team: Team | None = None,
) -> int:
    from imago.train import session
    from imago.train.means import Means
    from imago.train.profiling import NO_CLOCK, Stopwatch
    from imago.train.team import SOLO

    watch = Stopwatch() if profile else None
    means = Means(team=team or SOLO, clock=watch or NO_CLOCK, cache_quota=quota)
    say = out.say if means.team.chief else _silent
    if config is None:
        outcome = session.resume(folder, means=means, say=say)
    else:
        outcome = session.train(data, config, folder, means=means, say=say)
    if means.team.chief:
        _tell(out, outcome, watch.report() if watch is not None else None)
    return 0


def _as_worker(
    data: Path, config: TrainConfig | None, folder: Path, out: Output, *, quota: int, profile: bool
) -> int:
    """One of several processes; the chief alone speaks and writes."""
    from imago.train.device import wanted_kind
    from imago.train.team import join, leave

    end_with_launcher()
    try:
        team = join(cuda=wanted_kind(_device(config, folder)) == "cuda")
        return _train(data, config, folder, out, quota=quota, profile=profile, team=team)
    except WorkersError:
        if not hidden():
            raise
        return WorkersError.exit_code  # the launcher knows who was lost, and says it
    finally:
        leave()


def _device(config: TrainConfig | None, folder: Path) -> str:
    """The device that is asked for, or with which a run began (other machines need not have its folder)."""
    if config is not None:
        return config.device
    from imago.train.run import RUN_FILE, Run

    return Run.load(folder).config.device if (folder / RUN_FILE).is_file() else "auto"


def _silent(text: str) -> None:
    """Say nothing: the chief does."""


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


def _tell(out: Output, outcome: Outcome, profile: dict[str, Any] | None) -> None:
    data: dict[str, object] = {"run": str(outcome.folder), "epochs": outcome.epochs}
    if profile is not None:
        from imago.train.profiling import TRACE, table

        out.say("\n".join(table(profile)))
        out.say(tr("trace for chrome://tracing or ui.perfetto.dev: {path}", path=outcome.folder / TRACE))
        data["profile"] = profile
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
