"""``imago run``: camera or video in, live predictions out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imago.cli.common import Output, Parser, add_json
from imago.cli.model_args import add_model, open_classifier, positive, positive_number, size
from imago.cli.tuned_args import add_tuned, apply_tuned
from imago.edge_runtime.messages import tr

if TYPE_CHECKING:
    from imago.edge_runtime.loop import RunStats
    from imago.edge_runtime.sinks import Sink

EXAMPLES = (
    "imago run insects.onnx --source picamera",
    "imago run insects.onnx --source /dev/video0 --size 640x480",
    "imago run --tuned tune.json --source picamera",
    "imago run insects.onnx --source video.mp4 --jsonl seen.jsonl",
    "imago run insects.onnx --source rtsp://192.168.1.20/stream --seconds 60 --json summary.json",
)


def parser() -> Parser:
    """The argument parser."""
    p = Parser(
        "run", "Camera or video in, live predictions out. Ctrl-C ends it and prints the summary.", EXAMPLES
    )
    add_model(p, optional=True)
    add_tuned(p)
    p.add_argument(
        "--source",
        required=True,
        help=tr(
            "picamera, /dev/video0 (or 0), rtsp://…, http://…, a video, a folder, a picture, or synthetic"
        ),
    )
    p.add_argument(
        "--size", type=size, metavar="WxH", help=tr("picture size to ask the camera for (640x480)")
    )
    p.add_argument("--fps", type=positive_number, help=tr("frames a second to ask for, or to play a file at"))
    p.add_argument(
        "--realtime", action="store_true", help=tr("play a file as a camera would: late frames are lost")
    )
    p.add_argument("--frames", type=positive, help=tr("stop after so many frames"))
    p.add_argument("--seconds", type=positive_number, help=tr("stop after so many seconds"))
    p.add_argument("--jsonl", type=Path, metavar="FILE", help=tr("write one JSON object per frame to FILE"))
    add_json(p)
    return p


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    out = Output(args.json)
    apply_tuned(args)
    with open_classifier(args) as classifier:
        from imago.edge_runtime.cameras.base import open_source
        from imago.edge_runtime.loop import STALL_S, Loop, LoopOptions, stopping_on_signals
        from imago.edge_runtime.sinks import ConsoleSink, JsonLinesSink

        spec = classifier.spec
        stall = max(STALL_S, 3 / args.fps) if args.fps else STALL_S
        options = LoopOptions(args.frames, args.seconds, stall)
        source = open_source(
            args.source, size=args.size, fps=args.fps, realtime=args.realtime, target=spec.input
        )
        sinks: list[Sink] = [ConsoleSink(spec, out.stream)]
        try:
            if args.jsonl:
                sinks.append(JsonLinesSink(args.jsonl))
            loop = Loop(classifier, source, sinks, options)
            with stopping_on_signals(loop):
                out.say(
                    tr("{name} looks at {source}; Ctrl-C ends", name=spec.name, source=source.description)
                )
                stats = loop.run()
        finally:
            source.close()
    _summary(out, stats)
    out.result({"model": args.model.name, "name": spec.name, "source": source.description, **stats.to_dict()})
    return 0


def _summary(out: Output, stats: RunStats) -> None:
    out.say(
        tr(
            "{processed} frames in {seconds:.1f} s: {fps:.1f}/s, {dropped} dropped (ended by: {reason})",
            processed=stats.processed,
            seconds=stats.seconds,
            fps=stats.fps,
            dropped=stats.dropped,
            reason=stats.stopped_by,
        )
    )
    rows = (
        (tr("preprocessing + engine"), stats.latency),
        (tr("age of the picture at its answer"), stats.age),
    )
    for name, figures in rows:
        if figures is not None:
            out.say(
                tr(
                    "{name}: p50 {p50:.2f} ms, p90 {p90:.2f} ms, p99 {p99:.2f} ms",
                    name=name,
                    p50=figures.p50_us / 1e3,
                    p90=figures.p90_us / 1e3,
                    p99=figures.p99_us / 1e3,
                )
            )
