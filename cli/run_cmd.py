"""``imago run``: camera or video in, live predictions and events out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imago.cli.common import Output, Parser, add_json
from imago.cli.model_args import add_model, open_classifier, positive, positive_number, size
from imago.cli.run_outputs import add_outputs, open_outputs, shared
from imago.cli.tuned_args import add_tuned, apply_tuned
from imago.edge_runtime.messages import tr

if TYPE_CHECKING:
    from imago.edge_runtime.cameras.base import Source
    from imago.edge_runtime.classifier import Classifier
    from imago.edge_runtime.events import EventSink
    from imago.edge_runtime.loop import Loop
    from imago.edge_runtime.sinks import Sink
    from imago.edge_runtime.spec import ModelSpec

EXAMPLES = (
    "imago run insects.onnx --source picamera",
    "imago run insects.onnx --source /dev/video0 --size 1280x720 --events visits.jsonl --max-fps 5",
    "imago run insects.onnx --source picamera --records visits/ --web 0.0.0.0:8080 --mqtt mqtt://192.168.1.5",
    "imago run insects.onnx --source video.mp4 --jsonl seen.jsonl --motion off",
    "imago run insects.onnx --source rtsp://192.168.1.20/stream --roi 0.25,0.25,0.5,0.5 --seconds 60",
    "imago run --tuned tune.json --source picamera",
)


def parser() -> Parser:
    """The argument parser."""
    p = Parser(
        "run", "Camera or video in, live predictions out. Ctrl-C ends it and prints the summary.", EXAMPLES
    )
    add_model(p, optional=True)
    add_tuned(p)
    _source_flags(p)
    _watch_flags(p)
    group = p.add_argument_group(tr("when to stop"))
    group.add_argument("--frames", type=positive, help=tr("stop after so many frames"))
    group.add_argument("--seconds", type=positive_number, help=tr("stop after so many seconds"))
    group = p.add_argument_group(tr("where it goes"))
    group.add_argument(
        "--jsonl", type=Path, metavar="FILE", help=tr("write one JSON object per frame to FILE")
    )
    group.add_argument(
        "--events", type=Path, metavar="FILE", help=tr("append one JSON object per visit to FILE")
    )
    add_outputs(p)
    add_json(p)
    return p


def _source_flags(p: argparse.ArgumentParser) -> None:
    group = p.add_argument_group(tr("camera"))
    group.add_argument(
        "--source",
        required=True,
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


def _watch_flags(p: argparse.ArgumentParser) -> None:
    from imago.edge_runtime.decide.options import DecisionOptions
    from imago.edge_runtime.watch import MODES

    default = DecisionOptions()
    group = p.add_argument_group(tr("visits"))
    group.add_argument(
        "--motion",
        choices=MODES,
        default="auto",
        help=tr(
            "on: classify only what moves, in full resolution, and the whole picture while all of it moves; "
            "off: always the whole picture; auto: the whole picture at the start and while something that "
            "fills it moves or stays (auto)"
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


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    out = Output(args.json)
    from imago.edge_runtime.malloc import one_arena, settle

    one_arena()  # before there are threads
    apply_tuned(args)
    with open_classifier(args) as classifier:
        from imago.cli.run_summary import say_summary
        from imago.edge_runtime.cameras.base import is_camera
        from imago.edge_runtime.loop import stopping_on_signals

        opener = _opener(args, classifier.spec)
        source = opener()
        try:
            loop = _loop(args, classifier, source, opener if is_camera(args.source) else None, out)
            settle()
            with stopping_on_signals(loop):
                out.say(
                    tr(
                        "{name} looks at {source}; Ctrl-C ends",
                        name=classifier.spec.name,
                        source=source.description,
                    )
                )
                stats = loop.run()
        finally:
            source.close()
    say_summary(out, stats)
    out.result(
        {
            "model": args.model.name,
            "name": classifier.spec.name,
            "source": source.description,
            **stats.to_dict(),
        }
    )
    return 0


def _opener(args: argparse.Namespace, spec: ModelSpec) -> Callable[[], Source]:
    from imago.edge_runtime.cameras.base import open_source

    return partial(
        open_source,
        args.source,
        size=args.size,
        fps=args.fps,
        realtime=args.realtime,
        target=spec.input,
        detail=args.motion != "off",
        controls=dict(args.control),
    )


def _loop(
    args: argparse.Namespace,
    classifier: Classifier,
    source: Source,
    reopen: Callable[[], Source] | None,
    out: Output,
) -> Loop:
    from imago.edge_runtime.capture import STALL_S
    from imago.edge_runtime.decide.options import DecisionOptions
    from imago.edge_runtime.loop import Loop, LoopOptions
    from imago.edge_runtime.notify import Notifier
    from imago.edge_runtime.roi import Roi
    from imago.edge_runtime.watch import Watch

    decisions = DecisionOptions(threshold=args.threshold, gap_s=args.gap)
    predictor = shared(args, classifier)
    watch = Watch(
        predictor,
        classifier.spec.labels,
        source=source.description,
        model=classifier.spec.name,
        mode=args.motion,
        decisions=decisions,
        roi=Roi.parse(args.roi) if args.roi else None,
    )
    unrelated = getattr(source, "unrelated", False)
    stall = max(STALL_S, 3 / args.fps) if args.fps else STALL_S
    sinks, events = _outputs(args, classifier.spec, out)
    loop: Loop | None = None

    def camera() -> dict[str, Any]:  # the page is there before the loop that it tells of
        return {} if loop is None else loop.camera()

    more, keepers, viewers = open_outputs(
        args, predictor, classifier.spec, source.description, camera=camera, out=out
    )
    loop = Loop(
        predictor if unrelated else watch,
        source,
        [*sinks, *more],
        LoopOptions(args.frames, args.seconds, stall, args.max_fps),
        events=[*events, *keepers],
        viewers=viewers,
        reopen=reopen,
        notifier=Notifier.from_environment(),
        say=out.say,
    )
    return loop


def _outputs(args: argparse.Namespace, spec: ModelSpec, out: Output) -> tuple[list[Sink], list[EventSink]]:
    """Where predictions and events are written."""
    from imago.edge_runtime.event_sinks import EventConsole, EventLinesSink
    from imago.edge_runtime.sinks import ConsoleSink, JsonLinesSink

    sinks: list[Sink] = [ConsoleSink(spec, out.stream)]
    events: list[EventSink] = [EventConsole(spec, out.stream)]
    if args.jsonl:
        sinks.append(JsonLinesSink(args.jsonl))
    if args.events:
        events.append(EventLinesSink(args.events))
    return sinks, events
