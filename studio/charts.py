"""ECharts options in the studio's colours; ECharts comes with NiceGUI, so no internet is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from imago.edge_runtime.messages import tr

INK, MUTED, LINE = "#17231e", "#575f57", "#ddd8ca"
GREEN, AMBER, BLUE, RED, VIOLET, GREY = "#0d5c4d", "#c06a00", "#1d5f8a", "#a1271b", "#6a4c93", "#8b8a7c"
COLOURS = (GREEN, AMBER, BLUE, VIOLET, RED, GREY)
FONT = 'system-ui, "Segoe UI", "Noto Sans", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif'
Rows = Sequence[dict[str, Any]]


def frame(x: str, y: str, *, percent: bool = False) -> dict[str, Any]:
    """Axes and grid."""
    label = {"color": MUTED, "fontFamily": FONT}
    axis = {"axisLabel": label, "nameTextStyle": label, "axisLine": {"lineStyle": {"color": LINE}}}
    shown = {**label, "formatter": "{value} %"} if percent else label
    return {
        "animation": False,
        "textStyle": {"fontFamily": FONT, "color": INK},
        "grid": {"left": 8, "right": 18, "top": 34, "bottom": 26, "containLabel": True},
        "tooltip": {"trigger": "axis", "confine": True},
        "legend": {"top": 0, "right": 0, "textStyle": label, "itemWidth": 18, "itemHeight": 8},
        "xAxis": {
            **axis,
            "type": "value",
            "name": x,
            "nameLocation": "middle",
            "nameGap": 26,
            "minInterval": 1,
            "splitLine": {"show": False},
        },
        "yAxis": {
            **axis,
            "type": "value",
            "name": y,
            "scale": True,
            "axisLabel": shown,
            "splitLine": {"lineStyle": {"color": LINE}},
        },
    }


def line(name: str, data: Sequence[Sequence[float]], colour: str, *, dashed: bool = False) -> dict[str, Any]:
    """One curve."""
    return {
        "name": name,
        "type": "line",
        "data": [list(point) for point in data],
        "showSymbol": len(data) < 2,
        "symbolSize": 6,
        "lineStyle": {"width": 2.2, "type": "dashed" if dashed else "solid"},
        "color": colour,
    }


def steps(points: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """The front of a picture of accuracy against time: the best that was found within a time."""
    return {
        "type": "line",
        "step": "end",
        "data": [list(point) for point in points],
        "showSymbol": False,
        "silent": True,
        "lineStyle": {"width": 1.6, "color": BLUE, "opacity": 0.6},
        "z": 1,
    }


def limit(x: float, words: str) -> dict[str, Any]:
    """A vertical line, as a property of a series: what may not be passed."""
    return {
        "silent": True,
        "symbol": "none",
        "lineStyle": {"color": RED, "type": "dashed", "width": 1.2},
        "label": {"formatter": words, "color": RED, "fontFamily": FONT},
        "data": [{"xAxis": x}],
    }


def curve_data(rows: Rows, what: str) -> list[list[list[float]]]:
    """Points of training and validation; accuracies in percent."""
    factor = 100 if what == "accuracy" else 1
    return [
        [[row["epoch"], round(factor * row[key], 5)] for row in rows if row.get(key) is not None]
        for key in (f"train_{what}", f"val_{what}")
    ]


def loss_chart(rows: Rows) -> dict[str, Any]:
    """Loss of training and validation over epochs."""
    return _pair(rows, "loss", AMBER, percent=False)


def accuracy_chart(rows: Rows) -> dict[str, Any]:
    """Accuracy of training and validation over epochs, in percent."""
    return _pair(rows, "accuracy", GREEN, percent=True)


def _pair(rows: Rows, what: str, colour: str, *, percent: bool) -> dict[str, Any]:
    training, validation = curve_data(rows, what)
    options = frame(tr("epoch"), "", percent=percent)
    options["series"] = [
        line(tr("training"), training, GREY, dashed=True),
        line(tr("validation"), validation, colour),
    ]
    return options
