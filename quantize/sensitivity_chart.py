"""The layers of a network as bars: how far int8 in each of them moves the answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imago.quantize.sensitivity import LayerSensitivity
from imago.train.charts import BLUE, INK, RED, Pen, write_chart

MOST = 60  # bars that can be read; of more layers the most sensitive are shown
LEAST = 1e-7  # nats; where the logarithmic axis ends


def write_sensitivity_chart(target: Path, layers: Sequence[LayerSensitivity], title: str) -> str:
    """Draw ``layers`` to ``target`` with ``.png`` and ``.svg``; returns the SVG. Raises StorageError."""
    return write_chart(target, [layer.label for layer in layers], lambda pen: _draw(layers, title, pen))


def _draw(layers: Sequence[LayerSensitivity], title: str, pen: Pen) -> Figure:
    worst = sorted(layers, key=lambda layer: max(layer.alone, layer.gain))[-MOST:]
    shown = [layer for layer in layers if layer in worst]
    at = np.arange(len(shown))
    figure = Figure(figsize=(8.6, 1.6 + 0.24 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.barh(at - 0.2, [max(x.alone, LEAST) for x in shown], height=0.38, color=BLUE)
    axes.barh(at + 0.2, [max(x.gain, LEAST) for x in shown], height=0.38, color=RED)
    axes.set_xscale("log")
    axes.set_xlim(left=LEAST)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_yticks(at, [f"{layer.label}  {layer.operator}" for layer in shown])
    axes.tick_params(axis="y", labelcolor=INK, labelsize=7.5)
    axes.grid(False, axis="y")
    axes.set_xlabel(pen.words("how far the answers move (KL divergence, nats)"))
    axes.set_title(title, pad=34)
    _above(axes, pen.words("only this layer is int8"), BLUE)
    _above(axes, pen.words("saved where only this layer is float"), RED, 0.42)
    if len(shown) < len(layers):
        axes.set_xlabel(f"{axes.get_xlabel()}; {pen.words('the most sensitive layers are shown')}")
    return figure


def _above(axes: Axes, text: str, color: str, x: float = 0.0) -> None:
    axes.annotate(
        text, (x, 1), (0, 6), xycoords="axes fraction", textcoords="offset points", color=color, fontsize=9
    )
