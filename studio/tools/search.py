"""Tool: search. One button; the computer tries networks and settings for a given time and keeps the best."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nicegui import ui

from imago.edge_runtime.errors import ImagoError
from imago.edge_runtime.messages import tr
from imago.studio import charts, fields
from imago.studio.context import Context
from imago.studio.datasets import find_set
from imago.studio.jobs.job import LIVE, Job
from imago.studio.jobs.kinds import SEARCH_REPORT
from imago.studio.parts import Tag, box, button, card, chart, link, note, table, title
from imago.studio.steps.common import at_work, follow, percent
from imago.workflow.search.live import PROGRESS

KEY, FOLDER = "/tools/search", "searches"
MINUTES = (2, 5, 10, 20, 60, 120)
DEFAULTS: dict[str, Any] = {"minutes": "10", "max_ms": None}
SHOWN_TRIALS = 12


def build(context: Context) -> None:
    """Fill the page."""
    title(
        tr("Let the computer search"),
        tr(
            "It tries networks, picture sizes and learning rates on your pictures, drops what falls behind, "
            "and trains the best one for the rest of the time. It goes on when you close this page."
        ),
    )
    asked = next((job for job in context.studio.jobs.jobs() if job.order.kind == "search"), None)
    if asked is not None and asked.status in LIVE:
        at_work(context, asked, tr("Searching"), "stop-search")
    else:
        if asked is not None and asked.status == "failed":
            note(asked.failure, "bad")
        _form(context, asked)
    if asked is not None:
        _seen(context, asked)


def _settings(context: Context) -> dict[str, Any]:
    kept = context.choices.notes.get(KEY, {})
    return {**DEFAULTS, **(kept if isinstance(kept, dict) else {})}


def _form(context: Context, asked: Job | None) -> None:
    now = _settings(context)

    def keep(name: str) -> fields.Change:
        return lambda value: context.studio.memory.note(KEY, {**_settings(context), name: value})

    with card(tr("How long may it take?"), "asking"):
        try:
            find_set(context.studio.workspace, context.choices.data)
        except ImagoError as error:
            with note("", "warn"):
                link(str(error), "/data")
            return
        Tag("p", tr("Pictures: {name}", name=context.choices.data))
        with box("fields"):
            fields.choice(
                "minutes",
                tr("Minutes"),
                str(now["minutes"]),
                [(str(minutes), str(minutes)) for minutes in MINUTES],
                keep("minutes"),
                explanation=tr(
                    "The time for everything, until the winner is ready. The more time, the more settings "
                    "are tried, and the longer the best one learns."
                ),
            )
            fields.number(
                "max-ms",
                tr("At most so many milliseconds for a picture"),
                now["max_ms"],
                keep("max_ms"),
                low=0.001,
                high=10_000,
                placeholder=tr("no limit"),
                explanation=tr(
                    "Measured on this computer; a small board takes several times as long. Networks that are "
                    "slower are not trained at all."
                ),
            )
        with box("row"):
            button(tr("Search"), lambda: _ask(context), kind="main", id="search")
            if asked is not None and asked.status in ("stopped", "failed"):
                jobs = context.studio.jobs
                button(tr("Go on"), lambda: jobs.resume(asked.number), id="go-on")


async def _ask(context: Context) -> None:
    now, workspace = _settings(context), context.studio.workspace
    data = find_set(workspace, context.choices.data)
    taken = {job.order.title for job in context.studio.jobs.jobs()}
    wanted = workspace.free_run(f"{context.choices.data}-search").name
    number, name = 1, wanted
    while name in taken or workspace.run(name).exists():
        number, name = number + 1, f"{wanted}-{number + 1}"
    arguments = {
        "data": str(data.root),
        "out": str(workspace.root / FOLDER / name),
        "run": str(workspace.run(name)),
        "options": {
            "budget_s": 60.0 * float(now["minutes"]),
            "max_latency_us": 1000.0 * float(now["max_ms"] or 0),
        },
    }
    context.studio.jobs.add("search", name, arguments)
    await context.again()


def progress_of(job: Job) -> dict[str, Any]:
    """The search's ``progress.json``; {} before there is one."""
    try:
        data = json.loads((Path(job.order.arguments["out"]) / PROGRESS).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError):
        return {}
    return data if isinstance(data, dict) else {}


def _seen(context: Context, asked: Job) -> None:
    """What was tried so far, kept up to date while the search runs."""
    with card(tr("What was tried"), id="tried"):
        state = progress_of(asked)
        if state.get("result"):
            note(str(state["message"]), "good")
            with box("row"):
                button(tr("Use this network"), lambda: _use(context, asked), kind="main", id="use")
                if (context.studio.workspace.run(asked.order.title) / SEARCH_REPORT).is_file():
                    path = f"/api/download/runs/{quote(asked.order.title)}/{SEARCH_REPORT}?show=1"
                    link(tr("Why this one: the report"), path, "button", target="_blank", id="why")
        made = chart(scatter(state), tr("accuracy against time, one dot per trial"), "chart tall")
        words = tr(
            "A dot is a trial, the larger the longer it was trained. On the blue steps nothing else is both "
            "faster and more accurate; green is the best so far."
        )
        Tag("p", words, "muted small")
        rows = ui.element("div")
    told = -1.0

    def look() -> None:
        nonlocal told
        state = progress_of(asked)
        if state.get("updated", 0.0) == told:
            return
        told = state.get("updated", 0.0)
        made.options.clear()
        made.options.update(scatter(state))
        made.update()
        rows.clear()
        with rows:
            _table(state)

    look()
    if asked.status in LIVE:
        follow(context, look)


def _use(context: Context, asked: Job) -> None:
    context.choose(run=asked.order.title, model_file="")
    context.go("/understand")


def _table(state: dict[str, Any]) -> None:
    done = [row for row in state.get("trials", ()) if row["accuracy"] is not None]
    best = sorted(done, key=lambda row: -row["accuracy"])[:SHOWN_TRIALS]
    if not best:
        Tag("p", tr("Nothing has come to its end yet."), "muted")
        return
    head = (tr("network"), tr("picture size"), tr("accuracy"), tr("milliseconds"), tr("outcome"))
    table(head, [(name_of(r), f"{r['size']} px", percent(r["accuracy"]), _ms(r), _outcome(r)) for r in best])


def name_of(row: dict[str, Any]) -> str:
    """Network and width."""
    width = row["width"]
    return str(row["model"]) if width in (None, 1) else f"{row['model']} ×{width:g}"


def _ms(row: dict[str, Any]) -> str:
    return f"{row['p50_us'] / 1000:.2f}" if row["p50_us"] else "–"


def _outcome(row: dict[str, Any]) -> str:
    words = {
        "running": tr("learning"),
        "complete": tr("stage {stage}", stage=row["rung"] + 1),
        "stopped": tr("fell behind"),
        "failed": tr("failed"),
    }
    return words.get(row["state"], "")


def scatter(state: dict[str, Any]) -> dict[str, Any]:
    """Every trial by its time and its accuracy: the larger, the longer it was trained; the front in blue,
    with steps, the best in green. What ``workflow/search/figure.py`` draws when it is over, but alive."""
    options = charts.frame(tr("milliseconds per picture (log)"), tr("accuracy"), percent=True)
    options["xAxis"] |= {"type": "log", "minInterval": None, "splitLine": {"show": False}}
    options["tooltip"] = {"trigger": "item", "confine": True}
    options["legend"] = {"show": False}
    shown = [row for row in state.get("trials", ()) if row["accuracy"] is not None and row["p50_us"]]
    data = []
    for row in shown:
        best = row["number"] == state.get("best")
        colour = charts.GREEN if best else charts.BLUE if row["number"] in state["front"] else charts.GREY
        data.append(
            {
                "name": f"{name_of(row)}, {row['size']} px",
                "value": list(_at(row)),
                "symbolSize": 10 + 7 * row["rung"],
                "itemStyle": {"color": colour, "opacity": 0.85, "borderColor": "#fff", "borderWidth": 1.5},
                "label": {"show": best},
            }
        )
    dots: dict[str, Any] = {
        "type": "scatter",
        "data": data,
        "label": {"position": "top", "formatter": "{b}", "color": charts.INK},
    }
    if state.get("max_latency_us"):
        dots["markLine"] = charts.limit(state["max_latency_us"] / 1000, tr("at most"))
    front = sorted(_at(row) for row in shown if row["number"] in state["front"])
    options["series"] = [dots, charts.steps(front)]
    return options


def _at(row: dict[str, Any]) -> tuple[float, float]:
    return round(row["p50_us"] / 1000, 4), round(100 * row["accuracy"], 2)
