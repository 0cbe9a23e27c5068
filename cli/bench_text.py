"""What ``imago bench`` prints for people."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

from imago.cli.common import Output
from imago.edge_runtime.messages import tr

if TYPE_CHECKING:
    from imago.edge_runtime.bench import BenchReport
    from imago.edge_runtime.compare import Comparison
    from imago.edge_runtime.stats import Percentiles

PROFILE_ROWS = 8


def tell(out: Output, report: BenchReport) -> None:
    """The whole report."""
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
    starts = report.start_to_first_ms
    out.say(
        tr(
            "process start to first answer: {cold:.0f} ms the first time, {warm:.0f} ms in the middle of {n}",
            cold=starts[0],
            warm=median(starts),
            n=len(starts),
        )
    )
    out.say(f"{'µs':12}{'p50':>10}{'p90':>10}{'p99':>10}{'min':>10}{'max':>10}")
    for name, stage in report.stages.items():
        out.say(_row(name, stage))
    for threads_, total in report.sweep.items():
        out.say(_row(f"{threads_} thr.", total))
    _tell_memory(out, report)
    _tell_profile(out, report)
    _tell_condition(out, report)


def tell_comparison(out: Output, found: Sequence[Comparison], other: Sequence[str]) -> None:
    """Every stage, the verdict on the whole way, and what else is different."""
    words = {
        "faster": tr("faster"),
        "slower": tr("slower"),
        "same": tr("the same"),
        "cannot tell": tr("cannot tell"),
    }
    for c in found:
        out.say(
            tr(
                "{stage}: {verdict}, {ratio:.3f} times the earlier time "
                "(95 % interval {low:.3f} to {high:.3f})",
                stage=c.stage,
                verdict=words[c.verdict],
                ratio=c.ratio,
                low=c.low,
                high=c.high,
            )
        )
    if other:
        out.say(tr("also different: {list}", list="; ".join(other)))


def _row(name: str, stage: Percentiles) -> str:
    values = (stage.p50_us, stage.p90_us, stage.p99_us, stage.min_us, stage.max_us)
    return f"{name:12}" + "".join(f"{value:10.1f}" for value in values)


def _tell_memory(out: Output, report: BenchReport) -> None:
    memory = report.memory
    if memory is not None and memory.peak_rss_mb is not None:
        out.say(
            tr(
                "memory in a fresh process: peak {rss:.1f} MB, proportional share {pss} MB",
                rss=memory.peak_rss_mb,
                pss="?" if memory.pss_mb is None else f"{memory.pss_mb:.1f}",
            )
        )


def _tell_profile(out: Output, report: BenchReport) -> None:
    if report.profile is None:
        return
    out.say(
        tr("by operator (mean of {runs} inferences, with the profiler's own cost):", runs=report.profile.runs)
    )
    for operator in report.profile.kinds[:PROFILE_ROWS]:
        out.say(f"  {operator.name:<28}{operator.calls:>5.0f} ×{operator.us:>10.1f} µs{operator.share:>8.1%}")


def _tell_condition(out: Output, report: BenchReport) -> None:
    before, after, sustained = report.before, report.after, report.sustained
    if sustained is not None and sustained.samples:
        out.say(
            tr(
                "{minutes:.1f} minutes at full load: the end took {ratio:.2f} times as long as the beginning",
                minutes=sustained.samples[-1].time_s / 60,
                ratio=sustained.slowdown,
            )
        )
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
