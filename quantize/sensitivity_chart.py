"""The layers of a network as bars: how far int8 in each of them moves the answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from imago.quantize.sensitivity import LayerSensitivity
from imago.train.charts import BLUE, INK, MUTED, Pen, write_chart

MOST = 60  # bars that can be read; of more layers the most sensitive are shown
LEAST = 1e-7  # nats; where the logarithmic axis ends


def write_sensitivity_chart(target: Path, layers: Sequence[LayerSensitivity], title: str) -> str:
    """Draw ``layers`` to ``target`` with ``.png`` and ``.svg``; returns the SVG. Raises StorageError."""
    return write_chart(target, [layer.label for layer in layers], lambda pen: _draw(layers, title, pen))


def _draw(layers: Sequence[LayerSensitivity], title: str, pen: Pen) -> Figure:
    worst = sorted(layers, key=lambda layer: layer.alone)[-MOST:]
    shown = [layer for layer in layers if layer in worst]
    at = range(len(shown))
    figure = Figure(figsize=(8.6, 1.3 + 0.2 * len(shown)), layout="constrained")
    axes = figure.subplots()
    values = [max(layer.alone, LEAST) for layer in shown]
    axes.barh(at, values, height=0.7, color=BLUE)
    for place, value, layer in zip(at, values, shown, strict=True):
        axes.text(value * 1.12, place, f"{layer.sqnr_db:.0f} dB", va="center", fontsize=7, color=MUTED)
    axes.set_xscale("log")
    axes.set_xlim(LEAST, 4 * max(values))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}"))
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_yticks(at, [f"{layer.label}  {layer.operator}" for layer in shown])
    axes.tick_params(axis="y", labelcolor=INK, labelsize=7.5)
    axes.grid(False, axis="y")
    axes.set_title(pen.words("what int8 does in one layer alone") + f": {title}")
    note = pen.words("how far the answers move (KL divergence, nats); SQNR of the logits")
    if len(shown) < len(layers):
        note += "; " + pen.words("the most sensitive layers are shown")
    axes.set_xlabel(note)
    return figure
