"""``imago bench``: latency and memory of a model file on this machine."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imago.cli.bundle_args import with_variants
from imago.cli.common import Output, Parser, add_json
from imago.cli.model_args import add_model, open_classifier, positive, positive_number, size
from imago.edge_runtime.errors import GateError, InputError
from imago.edge_runtime.messages import tr

if TYPE_CHECKING:
    from imago.edge_runtime.bench import BenchOptions, BenchReport

MAX_JSON_BYTES = 50_000_000
EXAMPLES = (
    "imago bench insects.onnx",
    "imago bench insects.onnx --threads 1,2,4 --json bench.json --plot bench.svg",
    "imago bench insects.onnx --compare bench.json      # exit code 1 where it is slower now",
    "imago bench insects.onnx --minutes 10 --plot hot.svg",
    "imago bench insects.onnx --source picamera --profile",
)


def parser() -> Parser:
    """The argument parser."""
    p = Parser("bench", "Measure latency and memory of a model file on this machine.", EXAMPLES)
    add_model(p, sweep=True)
    p.add_argument("--runs", type=positive, default=200, help=tr("timed runs (200)"))
    p.add_argument("--warmup", type=int, default=20, help=tr("runs before, not counted (20)"))
    p.add_argument(
        "--processes", type=positive, default=5, help=tr("fresh processes that share the runs (5)")
    )
    p.add_argument("--frame", type=size, metavar="WxH", help=tr("size of the camera's picture (640x480)"))
    p.add_argument("--source", help=tr("take the pictures from this camera or video (see imago run)"))
    p.add_argument("--no-memory", action="store_true", help=tr("leave out the memory measurement"))
    p.add_argument(
        "--minutes", type=positive_number, default=0.0, help=tr("then run at full load: heat and throttling")
    )
    p.add_argument("--profile", action="store_true", help=tr("time by operator (.onnx)"))
    p.add_argument(
        "--compare",
        type=Path,
        metavar="OLD.json",
        help=tr("say whether it is faster or slower than in this earlier --json; exit code 1 if slower"),
    )
    p.add_argument("--plot", type=Path, metavar="FILE.svg", help=tr("draw latencies (and heat) as SVG"))
    add_json(p)
    return p


def main(argv: Sequence[str]) -> int:
    """Run the command; returns 1 where ``--compare`` finds it slower."""
    args = parser().parse_args(argv)
    out = Output(args.json)
    from imago.cli.bench_text import tell
    from imago.edge_runtime.bench import bench
    from imago.edge_runtime.progress import Progress, duration

    args.model = with_variants([args.model])[0]
    options = _options(args)
    old = _earlier(args.compare) if args.compare else None
    with open_classifier(args) as classifier:
        foreign = classifier.spec.precision == "unknown"
        spec = classifier.spec if foreign else None
    with Progress(options.processes * len({*args.threads}), tr("measuring")) as bar:
        report = bench(
            args.model,
            options,
            spec=spec,
            advance=bar.advance,
            running=lambda s: bar.advance(0, note=tr("full load: {time}", time=duration(s))),
        )
    tell(out, report)
    _draw(out, report, args.plot)
    result = report.to_dict()
    slower = _compared(out, old, result) if old else False
    out.result(result)
    if slower:
        raise GateError("slower than in {path}", path=args.compare)
    return 0


def _options(args: argparse.Namespace) -> BenchOptions:
    from imago.edge_runtime.bench import BenchOptions

    return BenchOptions(
        runs=args.runs,
        warmup=args.warmup,
        threads=args.threads[0],
        others=args.threads[1:],
        processes=args.processes,
        frame=args.frame,
        source=args.source,
        memory=not args.no_memory,
        minutes=args.minutes,
        profile=args.profile,
    )


def _earlier(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise InputError("{path} is too large for a report of imago bench", path=path)
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            "{path} cannot be read as a report of imago bench ({reason})", path=path, reason=error
        ) from error
    if not isinstance(data, dict):
        raise InputError("{path} is no report of imago bench", path=path)
    return data


def _compared(out: Output, old: Mapping[str, Any], result: dict[str, Any]) -> bool:
    """Say what the comparison found, and add it to ``result``; True where the whole way is slower."""
    from imago.cli.bench_text import tell_comparison
    from imago.edge_runtime.compare import compare_reports, differences

    found, other = compare_reports(old, result), differences(old, result)
    tell_comparison(out, found, other)
    result["comparison"] = {"stages": [c.to_dict() for c in found], "differences": other}
    return any(c.stage == "total" and c.verdict == "slower" for c in found)


def _draw(out: Output, report: BenchReport, path: Path | None) -> None:
    if path is None:
        return
    from imago.edge_runtime.files import write_text
    from imago.edge_runtime.plot import bench_svg

    write_text(path, bench_svg(report))
    out.say(tr("drawn: {path}", path=path))
