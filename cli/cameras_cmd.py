"""``imago cameras``: what can be given to ``imago run --source``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from imago.cli.common import Output, Parser, add_json
from imago.edge_runtime.messages import tr

if TYPE_CHECKING:
    from imago.edge_runtime.cameras.listing import CameraInfo

EXAMPLES = ("imago cameras", "imago cameras --controls", "imago cameras --json -")


def main(argv: Sequence[str]) -> int:
    """Run the command; 0 also where there is none."""
    p = Parser("cameras", "List the cameras that are here, with their modes. Takes no picture.", EXAMPLES)
    p.add_argument("--controls", action="store_true", help=tr("also list what can be set with --control"))
    add_json(p)
    args = p.parse_args(argv)
    from imago.edge_runtime.cameras.listing import cameras
    from imago.edge_runtime.sinks import printable

    out = Output(args.json)
    found = cameras()
    for info in found:
        out.say(printable(f"{info.source}  {info.name}" + (f"  ({info.note})" if info.note else "")))
        for line in _modes(info):
            out.say("    " + line)
        for name, limits in info.controls.items() if args.controls else ():
            out.say(f"    {printable(name)} {limits}")
    if not found:
        out.say(
            tr(
                "no camera found. CSI: check the ribbon cable and python3-picamera2 (imago doctor). "
                "USB: plug it in, and join the group video. Network cameras (rtsp://…) are not listed"
            )
        )
    out.result({"cameras": [info.to_dict() for info in found]})
    return 0


def _modes(info: CameraInfo) -> list[str]:
    """One line for each pixel format: its sizes, with their fastest rates."""
    lines: dict[str, list[str]] = {}
    for fourcc, width, height, fps in info.modes:
        rate = f"@{fps:g}" if fps else ""
        lines.setdefault(fourcc, []).append(f"{width}x{height}{rate}")
    return [f"{fourcc}: {', '.join(sizes)}" for fourcc, sizes in lines.items()]
