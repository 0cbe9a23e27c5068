"""``imago bench``: latency and memory of a model file on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imago.cli.common import Output, Parser, add_json
from imago.cli.model_args import add_model, open_classifier, positive, size
from imago.edge_runtime.messages import tr

if TYPE_CHECKING:
    from imago.edge_runtime.bench import BenchReport

EXAMPLES = (
    "imago bench insects.onnx",
    "imago bench insects.onnx --threads 4 --runs 1000 --json bench.json --plot bench.svg",
)


def parser() -> Parser:
    """The argument parser."""
    p = Parser("bench", "Measure latency and memory of a model file on this machine.", EXAMPLES)
    add_model(p)
    p.add_argument("--runs", type=positive, default=200, help=tr("timed runs (200)"))
    p.add_argument("--warmup", type=int, default=20, help=tr("runs before, not counted (20)"))
    p.add_argument("--frame", type=size, metavar="WxH", help=tr("size of the camera's picture (640x480)"))
    p.add_argument("--no-memory", action="store_true", help=tr("leave out the memory measurement"))
    p.add_argument("--plot", type=Path, metavar="FILE.svg", help=tr("draw the latency histogram as SVG"))
    add_json(p)
    return p


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_args(argv)
    out = Output(args.json)
    from imago.edge_runtime.bench import BenchOptions, bench

    options = BenchOptions(
        runs=args.runs, warmup=args.warmup, threads=args.threads, frame=args.frame, memory=not args.no_memory
    )
    with open_classifier(args) as classifier:
        foreign = classifier.spec.precision == "unknown"
        spec = classifier.spec if foreign else None
    report = bench(args.model, options, spec=spec)
    _tell(out, report)
    if args.plot:
        from imago.edge_runtime.files import write_text
        from imago.edge_runtime.plot import latency_svg

        write_text(args.plot, latency_svg(report))
        out.say(tr("drawn: {path}", path=args.plot))
    out.result(report.to_dict())
    return 0


def _tell(out: Output, report: BenchReport) -> None:
    system = report.system
    out.say(
        f"{report.model}  {report.size_bytes / 1e6:.2f} MB  {report.spec.precision}  {report.sha256[:12]}"
    )
    threads = tr("{count} thread(s)", count=report.threads)
    out.say(f"{system.board or system.cpu}  {report.engine} {report.engine_version}  {threads}")
    out.say(
        tr(
            "loaded in {load:.1f} ms, first answer after {first:.2f} ms more",
            load=report.load_ms,
            first=report.first_us / 1e3,
        )
    )
    out.say(f"{'µs':12}{'p50':>10}{'p90':>10}{'p99':>10}{'min':>10}{'max':>10}")
    for name, stage in report.stages.items():
        values = (stage.p50_us, stage.p90_us, stage.p99_us, stage.min_us, stage.max_us)
        out.say(f"{name:12}" + "".join(f"{value:10.1f}" for value in values))
    memory = report.memory
    if memory is not None and memory.peak_rss_mb is not None:
        out.say(
            tr(
                "memory in a fresh process: peak {rss:.1f} MB; first answer {ms:.0f} ms after its start",
                rss=memory.peak_rss_mb,
                ms=memory.start_to_first_ms or 0.0,
            )
        )
    _tell_condition(out, report)


def _tell_condition(out: Output, report: BenchReport) -> None:
    before, after = report.before, report.after
    if before.temperature_c is not None and after.temperature_c is not None:
        out.say(
            tr(
                "temperature {before:.1f} → {after:.1f} °C",
                before=before.temperature_c,
                after=after.temperature_c,
            )
        )
    if after.throttled:
        flags = ", ".join(after.throttled)
        out.say(tr("attention, the board was slowed down: {flags}; these figures do not hold", flags=flags))
