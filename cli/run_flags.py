"""The flags of ``imago run`` that say what is looked at; a bundle carries the same as data."""

from __future__ import annotations

import argparse

from imago.cli.model_args import positive_number, size
from imago.edge_runtime.messages import tr


def add_source(p: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Which camera, and how it is asked."""
    group = p.add_argument_group(tr("camera"))
    group.add_argument(
        "--source",
        required=required,
        help=tr(
            "picamera, /dev/video0 (or 0), rtsp://…, http://…, a video, a folder, a picture, or synthetic"
        ),
    )
    group.add_argument(
        "--size",
        type=size,
        metavar="WxH",
        help=tr("picture size to ask the camera for (default: by the model, or 1280x720 to look for motion)"),
    )
    group.add_argument(
        "--control",
        type=control,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=tr("a setting of the camera, such as focus=2, exposure=8000, hflip=1; imago cameras lists them"),
    )
    group.add_argument(
        "--fps", type=positive_number, help=tr("frames a second to ask for, or to play a file at")
    )
    group.add_argument(
        "--max-fps",
        type=positive_number,
        metavar="N",
        help=tr("look at no more than N frames a second, and sleep in between"),
    )
    group.add_argument(
        "--realtime", action="store_true", help=tr("play a file as a camera would: late frames are lost")
    )
    group.add_argument(
        "--roi",
        metavar="X,Y,W,H",
        help=tr("look at this part only: pixels, or shares of the picture (0.25,0.25,0.5,0.5)"),
    )


def control(text: str) -> tuple[str, str]:
    """``name=value`` → both."""
    name, separator, value = text.partition("=")
    if not (name and separator and value):
        raise argparse.ArgumentTypeError(
            tr("'{text}' is no setting; expected for example focus=2", text=text)
        )
    return name, value


def add_watch(p: argparse.ArgumentParser) -> None:
    """What counts as a visit."""
    from imago.edge_runtime.decide.options import DecisionOptions
    from imago.edge_runtime.watch import MODES

    default = DecisionOptions()
    group = p.add_argument_group(tr("visits"))
    group.add_argument(
        "--motion",
        choices=MODES,
        default="auto",
        help=tr(
            "on: classify only what moves, in full resolution; off: always the whole picture; "
            "auto: the whole picture while something that fills it moves (auto)"
        ),
    )
    group.add_argument(
        "--threshold",
        type=float,
        default=default.threshold,
        metavar="P",
        help=tr("confidence below which a visit is called unknown") + " (%(default)s)",
    )
    group.add_argument(
        "--gap",
        type=positive_number,
        default=default.gap_s,
        metavar="S",
        help=tr("a visit ends after S seconds out of sight") + " (%(default)s)",
    )
