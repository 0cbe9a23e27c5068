"""A bench as an SVG, written by hand (a board has no matplotlib): latencies, and the curve of a long run."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from imago.edge_runtime.bench import BenchReport
from imago.edge_runtime.messages import tr
from imago.edge_runtime.sustained import Sustained

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 60, 32, 70, 50
BARS = 60
HEAT = "#762a83"
COLORS = {"p50_us": "#1b7837", "p90_us": "#b35806", "p99_us": "#b2182b"}


def bench_svg(report: BenchReport) -> str:
    """A self-contained SVG: the latency histogram, and below it the run at full load, where there was one."""
    parts = [*_head(report), *_histogram(report)]
    if report.sustained is not None and report.sustained.samples:
        parts += _curve(report.sustained)
    return "\n".join([*parts, "</svg>", ""])


def _histogram(report: BenchReport) -> list[str]:
    """How often each latency occurred, with p50, p90 and p99 marked.

    The axis ends at 1.3 times p99, so that one slow run does not squeeze all others; later runs are
    counted in the last bar.
    """
    samples = np.asarray(report.samples_us)
    total = report.stages["total"]
    low, high = float(samples.min()) * 0.98, max(total.p99_us * 1.3, float(samples.min()) * 1.05)
    counts, edges = np.histogram(np.minimum(samples, high), BARS, (low, high))
    plot_width, plot_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(us: float) -> float:
        return LEFT + plot_width * (us - low) / (high - low)

    parts = []
    for count, edge in zip(counts, edges, strict=False):
        height = plot_height * count / counts.max()
        parts.append(
            f'<rect x="{x(edge):.1f}" y="{HEIGHT - BOTTOM - height:.1f}" '
            f'width="{plot_width / BARS - 1:.1f}" height="{height:.1f}" fill="#4393c3"/>'
        )
    for row, key in enumerate(COLORS):
        parts.append(_mark(x(getattr(total, key)), key, getattr(total, key), row))
    for tick in np.linspace(low, high, 6):
        parts.append(_text(x(tick), HEIGHT - BOTTOM + 18, _ms(tick), "middle"))
    parts.append(f'<path d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}" stroke="#333"/>')
    parts.append(_text(LEFT + plot_width / 2, HEIGHT - 10, tr("latency of one frame"), "middle"))
    return parts


def _curve(run: Sustained) -> list[str]:
    """p50 and p99 of each stretch over time, the temperature, and red marks where it was throttled."""
    times = [sample.time_s for sample in run.samples]
    top, bottom, end = HEIGHT + 30, 2 * HEIGHT - BOTTOM, max(times[-1], 1e-9)
    parts = [f'<path d="M{LEFT} {bottom}H{WIDTH - RIGHT}" stroke="#333"/>']

    def line(values: Sequence[float | None], least: float, most: float, color: str) -> str:
        points = (
            f"{LEFT + (WIDTH - LEFT - RIGHT) * t / end:.1f},"
            f"{bottom - (bottom - top) * (v - least) / max(most - least, 1e-9):.1f}"
            for t, v in zip(times, values, strict=True)
            if v is not None
        )
        return f'<polyline points="{" ".join(points)}" fill="none" stroke="{color}" stroke-width="1.5"/>'

    p50, p99 = ([getattr(s.latency, key) for s in run.samples] for key in ("p50_us", "p99_us"))
    most = 1.1 * float(np.percentile(p99, 95))  # a few slow stretches must not squeeze the rest
    for key, values in (("p50_us", p50), ("p99_us", [min(v, most) for v in p99])):
        parts.append(line(values, 0.0, most, COLORS[key]))
    parts.append(_text(LEFT + 4, top, f"p50, p99; {_ms(most)}", color=COLORS["p50_us"]))
    degrees = [s.condition.temperature_c for s in run.samples]
    if any(d is not None for d in degrees):
        parts.append(line(degrees, 20.0, 100.0, HEAT))
        parts.append(_text(WIDTH - RIGHT, top, tr("temperature, 20 to 100 °C"), "end", color=HEAT))
    for sample in run.samples:
        if any("has" not in flag.split() for flag in sample.condition.throttled or ()):
            x = LEFT + (WIDTH - LEFT - RIGHT) * sample.time_s / end
            parts.append(f'<path d="M{x:.1f} {bottom}v6" stroke="{COLORS["p99_us"]}" stroke-width="2"/>')
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    text = tr("{minutes:.1f} minutes at full load (red marks: throttled)", minutes=end / 60)
    return [*parts, _text(middle, 2 * HEIGHT - 10, text, "middle")]


def _head(report: BenchReport) -> list[str]:
    title = f"{report.model}: {report.engine} {report.engine_version}, {report.threads} × {report.system.cpu}"
    stages = ", ".join(f"{name} {_ms(stage.p50_us)}" for name, stage in report.stages.items())
    sub = f"{report.stages['total'].n} × {report.frame[0]}×{report.frame[1]}; p50: {stages}"
    height = HEIGHT * (2 if report.sustained is not None and report.sustained.samples else 1)
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        _text(LEFT, 24, title, size=15),
        _text(LEFT, 44, sub, size=10),
    ]


def _mark(x: float, key: str, us: float, row: int) -> str:
    color = COLORS[key]
    line = (
        f'<path d="M{x:.1f} {TOP - 8 + 14 * row}V{HEIGHT - BOTTOM}" stroke="{color}" stroke-dasharray="4 3"/>'
    )
    return line + _text(x + 4, TOP + 14 * row, f"{key[:3]} {_ms(us)}", color=color)


def _text(
    x: float, y: float, text: str, anchor: str = "start", *, size: int = 12, color: str = "#222"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{color}">'
        f"{escape(text)}</text>"
    )


def _ms(us: float) -> str:
    return f"{us:.0f} µs" if us < 1000 else f"{us / 1000:.2f} ms"
