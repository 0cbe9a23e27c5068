"""Step: understand: runs side by side: curves, parameters, size, time."""

from __future__ import annotations

from typing import Any

from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import duration
from imago.studio import charts
from imago.studio.context import Context
from imago.studio.parts import Tag, card, chart, table
from imago.studio.steps.common import kilobytes, percent
from imago.studio.training import RunView, all_runs
from imago.studio.weights import parameter_count

MOST = 6
LEFT_OUT = frozenset({"data", "model", "init", "teacher", "weights"})


def compare(context: Context, shown: RunView) -> None:
    """The newest finished runs, the one that is looked at among them."""
    runs = [one for one in all_runs(context.studio) if one.finished]
    chosen = [shown, *[one for one in runs if one.name != shown.name]][:MOST]
    if len(chosen) < 2:
        return
    with card(tr("Runs side by side")):
        options = charts.frame(tr("epoch"), "", percent=True)
        options["series"] = [
            charts.line(one.name, charts.curve_data(one.rows, "accuracy")[1], colour)
            for one, colour in zip(chosen, charts.COLOURS, strict=False)
        ]
        Tag("h3", tr("Validation accuracy"))
        chart(options, tr("{name} over the epochs", name=tr("Validation accuracy")))
        table(
            [
                tr("run"),
                tr("accuracy"),
                tr("weights"),
                tr("model file"),
                tr("time"),
                tr("epochs"),
                tr("what differs"),
            ],
            [_row(one, chosen) for one in chosen],
            caption=tr("Runs side by side"),
        )


def _row(one: RunView, runs: list[RunView]) -> list[str]:
    return [
        one.name,
        percent(one.result.get("accuracy")),
        f"{parameter_count(one.folder):,}".replace(",", " "),
        "–" if one.model is None else kilobytes(one.model.stat().st_size),
        duration(float(one.figures.get("seconds", 0))),
        str(len(one.rows)),
        ", ".join(_differences(one, runs)) or "–",
    ]


def _differences(one: RunView, runs: list[RunView]) -> list[str]:
    """Parameters that are not the same in all of these runs."""
    configs: list[dict[str, Any]] = [run.run.config.to_dict() for run in runs]
    mine = one.run.config.to_dict()
    names = [name for name in mine if name not in LEFT_OUT]
    return [
        f"{name} {_short(mine[name])}"
        for name in names
        if any(other.get(name) != mine[name] for other in configs)
    ]


def _short(value: Any) -> str:
    return "auto" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
