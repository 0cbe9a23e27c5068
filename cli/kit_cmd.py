"""``imago kit``: everything a board needs to install imago without internet, in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imago.cli.common import Output, Parser, add_json
from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import Progress

if TYPE_CHECKING:
    from imago.deploy.kit.manifest import Kit

EXAMPLES = (
    "imago kit -o kit                                   # trixie, 64 bit, USB camera",
    "imago kit --os bookworm --engine both --extra mqtt -o kit-bookworm",
    "imago kit --camera csi --system raspios-lite.img.xz -o kit-csi",
    "imago kit verify kit                               # is it whole, and what is in it?",
)
NOTE = 50  # characters of a line beside the bar


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    return _verify(argv[1:]) if argv and argv[0] == "verify" else _make(argv)


def _make(argv: Sequence[str]) -> int:
    from imago.deploy.kit.options import CAMERAS, ENGINES, EXTRAS, KitOptions
    from imago.deploy.kit.target import RELEASES, THIS

    default = KitOptions()
    p = Parser(
        "kit",
        "Gather everything that a board needs to install imago without internet: wheels for its Python and "
        "processor, and the Debian packages that its system lacks.",
        EXAMPLES,
    )
    p.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help=tr("the kit's folder"))
    p.add_argument(
        "--os",
        default=default.os,
        help=tr(
            "the board's system: {known} (default {default})",
            known=", ".join((*RELEASES, THIS)),
            default=default.os,
        ),
    )
    p.add_argument(
        "--arch", default=default.arch, help=tr("its architecture, by Debian's name (default arm64)")
    )
    p.add_argument("--engine", default=default.engine, choices=ENGINES, help=tr("what runs the models"))
    p.add_argument(
        "--camera",
        default=default.camera,
        choices=CAMERAS,
        help=tr("usb brings OpenCV; csi brings picamera2's Debian packages, and needs --system"),
    )
    p.add_argument(
        "--extra", action="append", default=[], choices=EXTRAS, help=tr("more of imago's extras; repeatable")
    )
    p.add_argument(
        "--deb",
        action="append",
        default=[],
        metavar="PACKAGE",
        help=tr("one more Debian package; repeatable"),
    )
    p.add_argument(
        "--system",
        type=Path,
        metavar="IMAGE",
        help=tr(
            "the board's system, an image (.img, .img.xz or .zip) or a folder: what it has already is left "
            "out"
        ),
    )
    p.add_argument("--renew", action="store_true", help=tr("replace an existing kit by a fresh one"))
    add_json(p)
    args = p.parse_args(argv)
    options = KitOptions(
        os=args.os,
        arch=args.arch,
        engine=args.engine,
        camera=args.camera,
        extras=tuple(sorted(set(args.extra))),
        debs=tuple(sorted(set(args.deb))),
        system=args.system,
    )
    from imago.deploy.kit.build import Listener, make_kit

    out, bars = Output(args.json), _Bars()
    try:
        kit = make_kit(args.out, options, Listener(bars.step, bars.advance), renew=args.renew)
    finally:
        bars.close()
    _tell(out, args.out, kit)
    out.result(_result(args.out, kit))
    return 0


def _verify(argv: Sequence[str]) -> int:
    from imago.deploy.kit.manifest import fault_text, faults, read_kit

    p = Parser(
        "kit verify",
        "Hold every file of a kit against its manifest.",
        ("imago kit verify kit", "imago kit verify kit --json -"),
    )
    p.add_argument("kit", type=Path, metavar="KIT", help=tr("the kit's folder"))
    add_json(p)
    args = p.parse_args(argv)
    kit, out = read_kit(args.kit), Output(args.json)
    with Progress(round(kit.size / 1e6), tr("checking")) as bar:
        found = list(faults(args.kit, kit, lambda n: bar.advance(0, f"{n}")))
    _tell(out, args.kit, kit)
    for path, fault in found:
        out.say(f"{path}: {fault_text(fault)}")
    if found:
        out.say(tr("this kit is damaged; make it again with imago kit --renew"))
    else:
        out.say(tr("every file is as it was made"))
    faulty: list[dict[str, str]] = [{"path": path, "fault": fault} for path, fault in found]
    out.result({**_result(args.kit, kit), "faults": faulty})
    return 1 if found else 0


class _Bars:
    """One progress bar after the other."""

    def __init__(self) -> None:
        self._bar: Progress | None = None

    def step(self, what: str, total: int) -> None:
        """The next step begins."""
        self.close()
        words = {
            "imago": tr("imago's own wheel"),
            "resolving": tr("choosing wheels"),
            "wheels": tr("fetching wheels"),
            "unpacking": tr("unpacking"),
            "packages": tr("reading package lists"),
            "debs": tr("fetching Debian packages"),
            "checking": tr("checking"),
        }
        self._bar = Progress(total, words[what])

    def advance(self, steps: int, note: str) -> None:
        """Something arrived."""
        if self._bar is not None:
            self._bar.advance(steps, note[:NOTE])

    def close(self) -> None:
        """No bar is left on the screen."""
        if self._bar is not None:
            self._bar.clear()
        self._bar = None


def _tell(out: Output, folder: Path, kit: Kit) -> None:
    wheels = [file for file in kit.files if file.path.startswith("wheels/")]
    debs = [file for file in kit.files if file.path.startswith("debs/")]
    out.say(
        tr(
            "{folder}: imago {version} for {os} {arch}, Python {python}; engine {engine}, camera {camera}",
            folder=folder,
            version=kit.imago,
            os=kit.target["os"],
            arch=kit.target["arch"],
            python=kit.target["python"],
            engine=kit.engine,
            camera=kit.camera,
        )
    )
    out.say(
        tr(
            "{wheels} wheels ({wheels_mb} MB), {debs} Debian packages ({debs_mb} MB)",
            wheels=len(wheels),
            wheels_mb=_mb(sum(file.size for file in wheels)),
            debs=len(debs),
            debs_mb=_mb(sum(file.size for file in debs)),
        )
    )


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f}"


def _result(folder: Path, kit: Kit) -> dict[str, Any]:
    return {"folder": str(folder), "bytes": kit.size, **kit.to_dict()}
