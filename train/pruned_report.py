"""What pruning took, layer by layer: a picture in the run folder, and a section of its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from imago.edge_runtime.messages import tr
from imago.train.charts import BLUE, INK, MUTED, Pen, write_chart
from imago.train.metrics import EvalResult
from imago.train.models.config import ModelConfig
from imago.train.models.summary import describe
from imago.train.report import Section, inline_svg
from imago.train.run import Run

PICTURE = "pruning"
TICKS = (1, 4, 16, 64, 128, 256, 512, 1024, 2048, 4096)
PALE = 0.28


@dataclass(frozen=True, slots=True)
class LayerChange:
    """Output channels and multiply-accumulates of one convolution or dense layer: (before, after)."""

    name: str
    channels: tuple[int, int]
    macs: tuple[int, int]


def layer_changes(config: ModelConfig) -> list[LayerChange]:
    """Every convolution and dense layer of a pruned network beside the network as it was drawn."""
    before, after = describe(replace(config, arch={})), describe(config)
    return [
        LayerChange(old.name, (old.shape[0], new.shape[0]), (old.macs, new.macs))
        for old, new in zip(before, after, strict=True)
        if old.macs
    ]


def pruning_section(run: Run, folder: Path, val: EvalResult | None) -> Section:
    """Draw the picture (PNG and SVG) into ``folder`` and tell the figures. val: accuracy after retraining."""
    changes = layer_changes(ModelConfig.from_dict(run.model))
    names = [change.name for change in changes]
    svg = write_chart(folder / PICTURE, names, lambda pen: picture(changes, pen))
    text = tr(
        "Pale: the network as it was drawn. Solid: what is left. Removed by importance “{importance}” in "
        "{steps} steps, retrained after each with the run {name} as teacher.",
        importance=run.pruning.get("importance"),
        steps=run.pruning.get("steps"),
        name=run.pruning.get("from", {}).get("name"),
    )
    return Section(tr("What pruning took"), _rows(run.pruning, val), text, inline_svg(svg, PICTURE))


def _rows(facts: dict[str, Any], val: EvalResult | None) -> tuple[tuple[str, ...], ...]:
    rows = [("", tr("before"), tr("after"), "")]
    unit, many = macs_unit(facts.get("macs", {}).get("before", 0))
    for key, name, scale in (
        ("macs", tr(unit), many),
        ("params", tr("thousand parameters"), 1e3),
        ("fp32_bytes", tr("fp32 ONNX file, kB (estimate)"), 1e3),
    ):
        pair = facts.get(key, {})
        if pair.get("before"):
            share = f"{pair['after'] / pair['before']:.1%}"
            rows.append((name, f"{pair['before'] / scale:,.1f}", f"{pair['after'] / scale:,.1f}", share))
    known = facts.get("accuracy", {})
    if val is not None and "before" in known:
        name = tr("accuracy on {n} validation pictures", n=known["n"])
        rows.append((name, f"{known['before']:.2%}", f"{val.accuracy:.2%}", ""))
    return tuple(rows)


def macs_unit(macs: int) -> tuple[str, float]:
    """The unit in which the work of a network reads well: its name, a key of the messages, and its size."""
    return ("million MACs", 1e6) if macs >= 10_000_000 else ("thousand MACs", 1e3)


def picture(changes: Sequence[LayerChange], pen: Pen) -> Figure:
    """One row per layer: its channels on the left (square-root scale), its share of the work on the right."""
    figure = Figure(figsize=(9.6, 1.0 + 0.19 * len(changes)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1))
    _pairs(left, [change.channels for change in changes])
    unit, many = macs_unit(sum(change.macs[0] for change in changes))
    _pairs(right, [(before / many, after / many) for before, after in (change.macs for change in changes)])
    most = max(change.channels[0] for change in changes)
    left.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
    left.set_xlim(0, most * 1.22)
    left.set_xticks([tick for tick in TICKS if most / 64 <= tick <= most])
    left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    right.set_xlim(0, None)
    right.xaxis.set_major_locator(MaxNLocator(5))
    for row, change in enumerate(changes):
        old, new = change.channels
        text = f"{new}" if new == old else f"{new} / {old}"
        left.text(old, row, f" {text}", va="center", fontsize=6.5, color=MUTED)
    left.set_title(pen.words("channels kept"))
    right.set_title(pen.words(unit))
    left.set_yticks(range(len(changes)), [change.name for change in changes], fontsize=7)
    left.tick_params(axis="y", labelcolor=INK)
    left.set_ylim(len(changes) - 0.4, -0.6)
    return figure


def _pairs(axes: Axes, values: Sequence[tuple[float, float]]) -> None:
    at = np.arange(len(values))
    axes.barh(at, [before for before, _ in values], height=0.72, color=BLUE, alpha=PALE, linewidth=0)
    axes.barh(at, [after for _, after in values], height=0.72, color=BLUE, linewidth=0)
    axes.grid(False, axis="y")
    axes.spines["bottom"].set_visible(False)
