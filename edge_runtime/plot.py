"""The latency histogram of a bench as an SVG, written by hand: a board has no matplotlib."""

from __future__ import annotations

from html import escape

import numpy as np

from imago.edge_runtime.bench import BenchReport
from imago.edge_runtime.messages import tr

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 70, 50
BARS = 60
COLORS = {"p50_us": "#1b7837", "p90_us": "#b35806", "p99_us": "#b2182b"}


def latency_svg(report: BenchReport) -> str:
    """A self-contained SVG: how often each latency occurred, with p50, p90 and p99 marked.

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

    parts = [_head(report)]
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
    return "\n".join([*parts, "</svg>", ""])


def _head(report: BenchReport) -> str:
    title = f"{report.model}: {report.engine} {report.engine_version}, {report.threads} × {report.system.cpu}"
    stages = ", ".join(f"{name} {_ms(stage.p50_us)}" for name, stage in report.stages.items())
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            _text(LEFT, 24, title, size=15),
            _text(
                LEFT, 44, f"{report.stages['total'].n} × {report.frame[0]}×{report.frame[1]}; p50: {stages}"
            ),
        )
    )


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
