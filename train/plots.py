"""The pictures of a run: learning curves, confusion matrix, bars per class, sheet of mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from imago.train.charts import BLUE, INK, MUTED, RED, Pen
from imago.train.metrics import EvalResult

if TYPE_CHECKING:
    from imago.train.report import Mistake

NUMBERS_UP_TO = 30  # classes with a number in every cell of the confusion matrix
MOST_BARS = 40


def curves(rows: Sequence[Mapping[str, Any]], pen: Pen) -> Figure:
    """Loss and accuracy over epochs, from the rows of ``metrics.jsonl``; missing keys leave gaps."""
    figure = Figure(figsize=(9.6, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, what, title in ((left, "loss", "Loss"), (right, "accuracy", "Accuracy")):
        percent = 100.0 if what == "accuracy" else 1.0
        axes.margins(x=0.02, y=0.08)
        ends = [
            _line(axes, *_column(rows, f"{part}_{what}", percent), color, pen.words(name))
            for part, color, name in (("train", BLUE, "training"), ("val", RED, "validation"))
        ]
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, 0) if percent > 1 else 0, min(high, 100.5) if percent > 1 else high)
        _label_ends(axes, [end for end in ends if end])
        axes.set_title(pen.words(title))
        axes.set_xlabel(pen.words("epoch"))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(5))
    right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    return figure


def _column(rows: Sequence[Mapping[str, Any]], key: str, scale: float) -> tuple[list[float], list[float]]:
    found = [
        (float(row.get("epoch", number)), float(row[key]) * scale)
        for number, row in enumerate(rows, 1)
        if isinstance(row.get(key), int | float) and np.isfinite(row[key])
    ]
    return [x for x, _ in found], [y for _, y in found]


@dataclass(frozen=True, slots=True)
class _End:
    """Where a line ends (in data units), and what it shows."""

    y: float
    color: str
    name: str


def _line(axes: Axes, x: list[float], y: list[float], color: str, name: str) -> _End | None:
    if not x:
        return None
    axes.plot(x, y, color=color)
    axes.plot(x[-1:], y[-1:], "o", color=color, markersize=5, clip_on=False)
    return _End(y[-1], color, name)


def _label_ends(axes: Axes, ends: list[_End]) -> None:
    """Names at the lines' ends instead of a legend; moved apart where the lines meet."""
    low, high = axes.get_ylim()
    ends = sorted(ends, key=lambda end: end.y)
    places = [(end.y - low) / (high - low) for end in ends]
    if len(places) == 2 and places[1] - places[0] < 0.09:
        middle = min(max(sum(places) / 2, 0.05), 0.95)
        places = [middle - 0.045, middle + 0.045]
    for place, end in zip(places, ends, strict=True):
        axes.annotate(
            end.name,
            (1, place),
            xycoords="axes fraction",
            xytext=(8, 0),
            textcoords="offset points",
            color=end.color,
            va="center",
            fontsize=9,
            annotation_clip=False,
        )


def confusion(result: EvalResult, pen: Pen) -> Figure:
    """True classes as rows, predicted as columns; shade: share of the row; right blue, wrong orange."""
    counts, n = result.confusion, len(result.labels)
    side = float(np.clip(0.62 * n, 2.2, 10.0))
    names = [pen.name(label) for label in result.labels]
    margin = 0.9 + 0.085 * _places(names) * _label_size(n) / 9
    figure = Figure(figsize=(side + margin, side + margin), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    rows, columns = np.nonzero(counts)
    boxes = [[(c, r), (c + 1, r), (c + 1, r + 1), (c, r + 1)] for r, c in zip(rows, columns, strict=True)]
    colors = [
        (*to_rgb(BLUE if r == c else RED), 0.1 + 0.9 * float(shares[r, c]) ** 0.7)
        for r, c in zip(rows, columns, strict=True)
    ]
    axes.add_collection(PolyCollection(boxes, facecolors=colors, edgecolors="none"))
    if n <= NUMBERS_UP_TO:
        _numbers(axes, counts, shares, size=float(np.clip(0.32 * 72 * side / n, 5, 11)))
    axes.set_xlim(0, n)
    axes.set_ylim(n, 0)
    axes.set_aspect("equal")
    _frame(axes, names, pen)
    return figure


def _numbers(axes: Axes, counts: Any, shares: Any, size: float) -> None:
    for r, c in np.argwhere(counts):
        text = f"{counts[r, c]:d}"
        axes.text(
            c + 0.5,
            r + 0.5,
            text,
            ha="center",
            va="center",
            fontsize=size * min(1.0, 4 / len(text)),
            color="white" if shares[r, c] > 0.45 else INK,
        )


def _frame(axes: Axes, names: list[str], pen: Pen) -> None:
    n, size = len(names), _label_size(len(names))
    steep = n > 20 or max(map(len, names)) > 10
    axes.set_xticks(np.arange(n) + 0.5, names, fontsize=size)
    axes.set_yticks(np.arange(n) + 0.5, names, fontsize=size)
    for label in axes.get_xticklabels():
        label.set(rotation=90 if steep else 35, ha="center" if steep else "right", rotation_mode="anchor")
        if steep:
            label.set(ha="right", va="center")
    axes.tick_params(length=0, labelcolor=INK)
    axes.grid(False)
    for edge in range(n + 1) if n <= NUMBERS_UP_TO else range(0, n + 1, 10):
        axes.axhline(edge, color=axes.spines["bottom"].get_edgecolor(), linewidth=0.6, zorder=0)
        axes.axvline(edge, color=axes.spines["bottom"].get_edgecolor(), linewidth=0.6, zorder=0)
    axes.set_xlabel(pen.words("predicted"))
    axes.set_ylabel(pen.words("true class"))


def _label_size(n: int) -> float:
    return float(np.clip(9.5 * 25 / max(n, 25), 4.2, 9.5))


def _places(names: Sequence[str]) -> int:
    """Width of the longest name in narrow characters."""
    return max(sum(2 if ord(c) > 0x2E80 else 1 for c in name) for name in names)


def per_class(result: EvalResult, pen: Pen) -> Figure:
    """Recall and precision of every class as bars; the weakest 40 where there are more."""
    entries = list(result.per_class)
    if len(entries) > MOST_BARS:
        entries = sorted(entries, key=lambda e: (e.f1 is not None, e.f1 or 0.0, e.label))[:MOST_BARS]
    n = len(entries)
    figure = Figure(figsize=(8.6, 0.9 + 0.36 * n), layout="constrained")
    axes = figure.subplots()
    for shift, color, values in (
        (-0.19, BLUE, [e.recall for e in entries]),
        (0.19, RED, [e.precision for e in entries]),
    ):
        _bars(axes, np.arange(n) + shift, values, color)
    axes.set_yticks(np.arange(n), [f"{pen.name(e.label)}  ({e.n})" for e in entries])
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set_ylim(n - 0.4, -0.6)
    axes.set_xlim(0, 107)
    axes.set_xticks(range(0, 101, 20))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.grid(False, axis="y")
    axes.spines["bottom"].set_visible(False)
    recall, precision = (
        pen.words("recall: found of all that were there"),
        pen.words("precision: right of all named"),
    )
    axes.annotate(
        recall, (0, 1), (0, 6), xycoords="axes fraction", textcoords="offset points", color=BLUE, fontsize=9
    )
    axes.annotate(
        precision,
        (1, 1),
        (0, 6),
        xycoords="axes fraction",
        textcoords="offset points",
        color=RED,
        fontsize=9,
        ha="right",
    )
    return figure


def _bars(axes: Axes, at: Any, values: list[float | None], color: str) -> None:
    axes.barh(at, [100 * (value or 0) for value in values], height=0.34, color=color)
    for place, value in zip(at, values, strict=True):
        text = "–" if value is None else f"{100 * value:.0f}"
        axes.text(100 * (value or 0) + 0.8, place, text, va="center", fontsize=7.5, color=MUTED)


def mistakes_sheet(mistakes: Sequence[Mistake], pen: Pen, columns: int = 6) -> Figure:
    """Pictures the network got wrong, most confident first: what it is, and what was said."""
    columns = max(1, min(columns, len(mistakes)))
    lines = -(-len(mistakes) // columns)
    figure = Figure(figsize=(max(3.0, 1.7 * columns), max(1.0, 2.25 * lines)), layout="constrained")
    for number, mistake in enumerate(mistakes, 1):
        axes = figure.add_subplot(lines, columns, number)
        image = (
            mistake.image[..., 0]
            if mistake.image.ndim == 3 and mistake.image.shape[2] == 1
            else mistake.image
        )
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_axis_off()
        said = f"{pen.name(mistake.predicted)} {mistake.confidence:.0%}"
        axes.text(0, -0.05, pen.name(mistake.true), transform=axes.transAxes, fontsize=9, va="top")
        axes.text(0, -0.19, f"→ {said}", transform=axes.transAxes, fontsize=9, va="top", color=RED)
    return figure
