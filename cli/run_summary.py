"""What ``imago run`` says at its end."""

from __future__ import annotations

from imago.cli.common import Output
from imago.edge_runtime.messages import tr
from imago.edge_runtime.runstats import RunStats


def say_summary(out: Output, stats: RunStats) -> None:
    """Frames, visits, what went wrong, how long answers took."""
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
    if stats.idle:
        out.say(
            tr(
                "nothing moved in {idle} of them; the model was asked {calls} times",
                idle=stats.idle,
                calls=stats.calls,
            )
        )
    out.say(tr("{count} visits, {lost} of them lost", count=stats.events, lost=stats.events_lost))
    if stats.failures:
        out.say(
            tr(
                "the camera failed {failures} times and came back {reopened} times; "
                "{seconds:.0f} s without pictures",
                failures=stats.failures,
                reopened=stats.reopened,
                seconds=stats.downtime_s,
            )
        )
    _percentiles(out, stats)


def _percentiles(out: Output, stats: RunStats) -> None:
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
