"""``imago data check|fetch|generate|pixels``: look at a data set or a picture, download one, or make one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from imago.cli.common import Output, Parser, add_json
from imago.cli.data_args import add_data_options, data_options
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr


def main(argv: Sequence[str]) -> int:
    """Dispatch to the sub-command; 0 fine, 1 errors found in pictures (check), 2 bad input."""
    commands: dict[str, Callable[[Sequence[str]], int]] = {
        "check": check,
        "fetch": fetch,
        "generate": generate,
        "pixels": pixels,
    }
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())  # noqa: T201
        return 0
    if argv[0] not in commands:
        raise InputError("imago data {name}: there are check, fetch, generate and pixels", name=argv[0])
    return commands[argv[0]](argv[1:])


def usage() -> str:
    """The text of ``imago data --help``."""
    return "\n".join(
        (
            tr("usage: imago data check|fetch|generate|pixels …   (each explains itself with --help)"),
            "",
            "  check     "
            + tr("list everything that is wrong with a data set, and what it means for training"),
            "  fetch     " + tr("download a public data set: mnist, fashion-mnist, hymenoptera"),
            "  generate  " + tr("make pictures and a camera video of drawn insects"),
            "  pixels    " + tr("print a picture as the numbers that it is made of"),
        )
    )


def check(argv: Sequence[str]) -> int:
    """``imago data check DIR``."""
    parser = Parser(
        "data check",
        "Decode every picture and list everything that is wrong, and what it means for training.",
        (
            "imago data check photos",
            "imago data check photos --split-file photos/split.csv --json report.json",
        ),
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help=tr("the data set's folder"))
    add_data_options(parser)
    add_json(parser)
    args = parser.parse_args(argv)
    from imago.train.data.check import check_dataset

    report = check_dataset(args.folder, data_options(args))
    output = Output(args.json)
    for line in report.lines():
        output.say(line)
    output.result(report.to_dict())
    return 0 if report.usable else 1


def fetch(argv: Sequence[str]) -> int:
    """``imago data fetch NAME``."""
    from imago.train.data.fetch import SOURCES
    from imago.train.data.fetch import fetch as fetch_dataset

    parser = Parser(
        "data fetch",
        "Download a public data set; an interrupted download continues where it stopped.",
        ("imago data fetch mnist", "imago data fetch hymenoptera --out photos/ants-and-bees"),
    )
    parser.add_argument("name", metavar="NAME", help=", ".join(SOURCES))
    parser.add_argument("--out", type=Path, metavar="DIR", help=tr("folder to make (default: NAME)"))
    parser.add_argument(
        "--from",
        dest="mirrors",
        action="append",
        metavar="URL",
        help=tr("folder on another mirror, for instance a server of the school; may be given twice"),
    )
    args = parser.parse_args(argv)
    out = args.out if args.out is not None else Path(args.name)
    output = Output(None)
    fetch_dataset(args.name, out, base_urls=args.mirrors)
    source = SOURCES[args.name]
    output.say(
        tr(
            "{title} is in {path} (licence: {licence})",
            title=source.title,
            path=out,
            licence=source.licence or tr("none stated"),
        )
    )
    if not all(source.files.values()):
        output.say(
            tr("no checksum is published for it: the archive's CRCs and the number of pictures were checked")
        )
    return 0


def generate(argv: Sequence[str]) -> int:
    """``imago data generate --out DIR``."""
    parser = Parser(
        "data generate",
        "Make a data set of drawn insects: no photos, but it trains, exports and runs like them.",
        ("imago data generate --out insects", "imago data generate --out insects --video insects.mp4"),
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help=tr("folder to make"))
    parser.add_argument("--per-class", type=int, default=120, metavar="N", help=tr("pictures per class"))
    parser.add_argument("--size", type=int, default=96, metavar="PIXELS", help=tr("side of the pictures"))
    parser.add_argument("--seed", type=int, default=0, metavar="N", help=tr("another number, other pictures"))
    parser.add_argument(
        "--background",
        action="store_true",
        help=tr("one more class, of pictures without an insect: a camera sees mostly that"),
    )
    parser.add_argument("--video", type=Path, metavar="FILE", help=tr("also make a video as a camera would"))
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S", help=tr("length of the video"))
    args = parser.parse_args(argv)
    if args.out is None and args.video is None:
        raise InputError("nothing to make: give --out DIR, --video FILE or both")
    if args.per_class < 1 or not 16 <= args.size <= 2048 or not 0 < args.seconds <= 3600:
        raise InputError("give --per-class of at least 1, --size 16 to 2048 and --seconds up to 3600")
    from imago.train.generate.insects import make_dataset, make_video

    output = Output(None)
    if args.out is not None:
        make_dataset(
            args.out, per_class=args.per_class, size=args.size, seed=args.seed, background=args.background
        )
        output.say(tr("generated pictures are in {path}", path=args.out))
    if args.video is not None:
        make_video(args.video, seconds=args.seconds, seed=args.seed)
        output.say(tr("the video is {path}", path=args.video))
    return 0


def pixels(argv: Sequence[str]) -> int:
    """``imago data pixels PICTURE``."""
    from imago.studio.lab.pixels import MODES, numbers, text_lines

    parser = Parser(
        "data pixels",
        "Print a picture as the numbers that it is made of.",
        (
            "imago data pixels ant.jpg                    # 25×25, grey, 0 to 255",
            "imago data pixels ant.jpg --size 8 --mode rgb",
            "imago data pixels ant.jpg --mode bw --threshold 128",
        ),
    )
    parser.add_argument("picture", type=Path, metavar="PICTURE", help=tr("a picture file"))
    parser.add_argument("--size", type=int, default=25, metavar="N", help=tr("pixels each way (%(default)s)"))
    parser.add_argument("--mode", choices=MODES, default="gray", help="(%(default)s)")
    parser.add_argument(
        "--threshold", type=int, metavar="N", help=tr("for bw: grey from which a pixel is white (the mean)")
    )
    add_json(parser)
    args = parser.parse_args(argv)
    from imago.edge_runtime.imageio import read_image

    found = numbers(read_image(args.picture), args.size, args.mode, args.threshold)
    output = Output(args.json)
    for line in text_lines(found):
        output.say(line)
    output.result({"picture": args.picture.name, "mode": args.mode, "pixels": found.tolist()})
    return 0
