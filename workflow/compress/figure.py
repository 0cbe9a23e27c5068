"""The picture of a compression: accuracy against latency, a bubble's area is the file's size."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from imago.train.charts import BLUE, INK, MUTED, RED, Pen
from imago.workflow.compress.choose import Choice, Gates, Measured

LARGEST = 1600.0  # area of the largest bubble, points²
SMALLEST = 40.0


def by_latency(candidates: Sequence[Measured]) -> list[Measured]:
    """The order that picture and table number them in: fastest first."""
    return sorted(candidates, key=lambda c: (c.p50_us, c.bytes))


def pareto_figure(candidates: Sequence[Measured], choice: Choice, gates: Gates, pen: Pen) -> Figure:
    """Every candidate as a bubble; inside the gates filled, outside hollow; the front as a line."""
    figure = Figure(figsize=(9.6, 5.4), layout="constrained")
    axes = figure.subplots()
    largest = max(c.bytes for c in candidates)
    _front(axes, choice)
    for number, c in enumerate(by_latency(candidates), 1):
        inside = not gates.failures(c)
        chosen = c is choice.best
        color = RED if chosen else BLUE if inside else MUTED
        area = max(SMALLEST, LARGEST * c.bytes / largest)
        axes.scatter(
            c.p50_us / 1000,
            100 * c.accuracy,
            s=area,
            color=color if inside else "none",
            edgecolors=color,
            alpha=0.75 if inside else 1.0,
            linewidths=1.4,
            zorder=3,
        )
        name = f"{number}  {c.recipe.name}" if chosen else str(number)
        _label(axes, c, name, area, above=chosen or bool(number % 2), color=color if chosen else INK)
    _gates(axes, candidates, gates, pen)
    times = [c.p50_us / 1000 for c in candidates]
    latency_axes(axes, times, pen.words("Accuracy against latency (area: file size)"), pen)
    return figure


def _label(axes: Axes, c: Measured, name: str, area: float, *, above: bool, color: str) -> None:
    """Neighbours take turns above and below, so that bubbles that overlap keep readable numbers."""
    distance = math.sqrt(area / math.pi) + 3
    axes.annotate(
        name,
        (c.p50_us / 1000, 100 * c.accuracy),
        xytext=(0, distance if above else -distance),
        textcoords="offset points",
        ha="center",
        va="bottom" if above else "top",
        fontsize=9,
        color=color,
        zorder=4,
    )


def _front(axes: Axes, choice: Choice) -> None:
    """Best accuracy that can be had within a latency, as steps."""
    x: list[float] = []
    y: list[float] = []
    for c in choice.front:
        if not y or 100 * c.accuracy > y[-1]:
            x.append(c.p50_us / 1000)
            y.append(100 * c.accuracy)
    axes.step(x, y, where="post", color=MUTED, linewidth=1.2, zorder=2)


def _gates(axes: Axes, candidates: Sequence[Measured], gates: Gates, pen: Pen) -> None:
    plain = next(c for c in candidates if c.recipe.plain)
    floor = 100 * plain.accuracy - gates.max_drop
    axes.axhline(floor, color=RED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate(
        pen.words("allowed drop"),
        (1, floor),
        xycoords=("axes fraction", "data"),
        xytext=(-4, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=8,
        color=RED,
    )
    if gates.max_latency_us:
        axes.axvline(gates.max_latency_us / 1000, color=RED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)


def latency_axes(axes: Axes, times_ms: Sequence[float], title: str, pen: Pen) -> None:
    """Latency to the right on a logarithmic scale, accuracy upwards. title: already translated."""
    axes.set_xscale("log")
    axes.set_xlim(min(times_ms) / 1.4, max(times_ms) * 1.4)
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.margins(y=0.18)
    axes.set_title(title)
    axes.set_xlabel(pen.words("p50 of the engine alone, one thread, ms"))
