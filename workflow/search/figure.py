"""The picture of a search: every trial by accuracy and latency, the front as steps, the winner as a star."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imago.train.charts import BLUE, MUTED, RED, Pen
from imago.workflow.compress.figure import latency_axes
from imago.workflow.search.outcome import Row, Winner, pareto

AREAS = (36.0, 90.0, 200.0)  # points², by rung: the longer it was trained, the larger


def search_figure(rows: Sequence[Row], winner: Winner, max_latency_us: float, pen: Pen) -> Figure:
    """Filled: complete; hollow: stopped early. Numbers are those of the table."""
    figure = Figure(figsize=(9.6, 5.4), layout="constrained")
    axes = figure.subplots()
    shown = [r for r in rows if r.entry.accuracy is not None and r.entry.p50_us]
    _steps(axes, rows)
    on_front = {r.entry.number for r in pareto(rows)}
    for row in shown:
        _point(axes, row, on_front=row.entry.number in on_front)
    axes.scatter(
        winner.p50_us / 1000, 100 * winner.val.accuracy, s=320, marker="*", color=RED, zorder=5, linewidths=0
    )
    axes.annotate(
        winner.row.title,
        (winner.p50_us / 1000, 100 * winner.val.accuracy),
        xytext=(0, 12),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=9,
        color=RED,
        zorder=6,
    )
    if max_latency_us:
        axes.axvline(max_latency_us / 1000, color=RED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    times = [r.entry.p50_us / 1000 for r in shown] + [winner.p50_us / 1000]
    latency_axes(axes, times, pen.words("Accuracy against latency (size: how long it was trained)"), pen)
    return figure


def _point(axes: Axes, row: Row, *, on_front: bool) -> None:
    entry = row.entry
    color = BLUE if on_front else MUTED
    at = (entry.p50_us / 1000, 100 * (entry.accuracy or 0.0))
    area = AREAS[min(entry.rung, len(AREAS) - 1)]
    filled = entry.state == "complete"
    axes.scatter(
        *at,
        s=area,
        color=color if filled else "none",
        edgecolors=color,
        alpha=0.8,
        linewidths=1.2,
        zorder=3,
    )
    if on_front:
        axes.annotate(
            str(entry.number),
            at,
            xytext=(0, -6 - area**0.5 / 2),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=8,
        )


def _steps(axes: Axes, rows: Sequence[Row]) -> None:
    """Best accuracy that was found within a latency."""
    best = pareto(rows)
    x = [r.entry.p50_us / 1000 for r in best]
    y = [100 * (r.entry.accuracy or 0.0) for r in best]
    axes.step(x, y, where="post", color=MUTED, linewidth=1.2, zorder=2)
