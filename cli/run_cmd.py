"""``imago run``: camera or video in, live predictions and events out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imago.cli.bundle_args import apply_bundle
from imago.cli.common import Output, Parser, add_json
from imago.cli.model_args import add_model, open_classifier, positive, positive_number
from imago.cli.run_flags import add_source, add_watch
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
    "imago run insects.imago --source /dev/video0     a bundle brings its own settings; flags go before them",
)


def parser() -> Parser:
    """The argument parser."""
    p = Parser(
        "run", "Camera or video in, live predictions out. Ctrl-C ends it and prints the summary.", EXAMPLES
    )
    add_model(p, optional=True)
    add_tuned(p)
    add_source(p, required=False)  # a bundle may name it
    add_watch(p)
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
    group.add_argument(
        "--quiet", action="store_true", help=tr("no line for every change (a service's log stays short)")
    )
    add_outputs(p)
    add_json(p)
    return p


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = apply_bundle(parser(), argv)
    out = Output(args.json)
    from imago.edge_runtime.malloc import one_arena

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

    sinks: list[Sink] = [] if args.quiet else [ConsoleSink(spec, out.stream)]
    events: list[EventSink] = [] if args.quiet else [EventConsole(spec, out.stream)]
    if args.jsonl:
        sinks.append(JsonLinesSink(args.jsonl))
    if args.events:
        events.append(EventLinesSink(args.events))
    return sinks, events
