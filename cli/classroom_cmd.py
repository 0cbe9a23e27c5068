"""``imago classroom kit|check``: the lesson on a USB stick, for computers without the internet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from imago.cli.common import Output, Parser, add_json
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr
from imago.workflow.classroom.target import PYTHONS, SYSTEMS, Target


def main(argv: Sequence[str]) -> int:
    """Dispatch to the sub-command."""
    commands: dict[str, Callable[[Sequence[str]], int]] = {"kit": kit, "check": check}
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())  # noqa: T201
        return 0
    if argv[0] not in commands:
        raise InputError("imago classroom {name}: there are kit and check", name=argv[0])
    return commands[argv[0]](argv[1:])


def usage() -> str:
    """The text of ``imago classroom --help``."""
    return "\n".join(
        (
            tr("usage: imago classroom kit|check …   (each explains itself with --help)"),
            "",
            "  kit    " + tr("put everything that a class needs without the internet on a USB stick"),
            "  check  " + tr("compare a stick with its checksums"),
        )
    )


def kit(argv: Sequence[str]) -> int:
    """``imago classroom kit``."""
    p = Parser(
        "classroom kit",
        "Make or complete a folder for a USB stick: wheels, installer, samples, checksums.",
        (
            "imago classroom kit --for windows -o usb/       # Python 3.12 on the pupils' computers",
            "imago classroom kit --for windows -o usb/ --python-installer python-3.12.10-amd64.exe",
            "imago classroom kit --for linux --python 3.11 -o usb/ --index URL   # PyTorch for the CPU",
        ),
    )
    default = Target()
    p.add_argument("--for", dest="system", choices=SYSTEMS, required=True, help=tr("the pupils' computers"))
    p.add_argument("--python", choices=PYTHONS, default=default.python, help="(%(default)s)")
    p.add_argument("-o", "--out", type=Path, required=True, help=tr("the stick, or a folder to copy onto it"))
    p.add_argument(
        "--index", action="append", default=[], metavar="URL", help=tr("a further package index for pip")
    )
    p.add_argument("--wheel", type=Path, help=tr("imago's own wheel (default: made from this imago)"))
    p.add_argument(
        "--python-installer", type=Path, metavar="FILE", help=tr("Python's installer, to go on the stick")
    )
    add_json(p)
    args = p.parse_args(argv)
    out = Output(args.json)
    from imago.workflow.classroom.kit import KitOptions, make_kit

    options = KitOptions(
        Target(args.system, args.python),
        indexes=tuple(args.index),
        wheel=args.wheel,
        installer=args.python_installer,
    )
    made = make_kit(args.out, options, out.say)
    out.say(
        tr(
            "{folder}: {n} wheels, {mb} MB; copy it onto sticks, and read README.txt there",
            folder=made.folder,
            n=len(made.wheels),
            mb=made.bytes // 1_000_000,
        )
    )
    out.result(made.to_dict())
    return 0


def check(argv: Sequence[str]) -> int:
    """``imago classroom check DIR``."""
    p = Parser("classroom check", "Compare a stick with its checksums.", ("imago classroom check usb/",))
    p.add_argument("folder", type=Path, metavar="DIR", help=tr("folder that imago classroom kit wrote"))
    add_json(p)
    args = p.parse_args(argv)
    out = Output(args.json)
    from imago.workflow.classroom.kit import check_kit

    n = check_kit(args.folder)
    out.say(tr("{n} files, all as they should be", n=n))
    out.result({"files": n})
    return 0
