"""Step: compress. Ask for smaller versions, see all of them in one picture, pick one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nicegui import ui
from nicegui.events import EChartPointClickEventArguments

from imago.edge_runtime.messages import tr
from imago.studio import charts, fields
from imago.studio.context import Context
from imago.studio.jobs.job import LIVE, Job
from imago.studio.jobs.kinds import COMPRESSED, RESULT
from imago.studio.parts import Tag, box, button, card, chart, note, title
from imago.studio.steps.common import at_work, kilobytes, next_step, percent, run_or_hint
from imago.studio.training import RunView

KEY = "/compress"
DEFAULTS = {"max_drop": 1.0, "macs": "0.5 0.25", "epochs": 0.0, "qat_epochs": 3.0}
SHARES = {"": (), "0.5": (0.5,), "0.5 0.25": (0.5, 0.25), "0.5 0.25 0.1": (0.5, 0.25, 0.1)}


def build(context: Context) -> None:
    """Fill the page."""
    title(
        tr("Smaller and faster"),
        tr(
            "Pruning removes channels, quantising turns numbers into bytes. Every version is measured; "
            "what loses too much is not handed out."
        ),
    )
    shown = run_or_hint(context)
    if shown is None:
        return
    asked = context.studio.jobs.find("compress", run=str(shown.folder))
    if asked is not None and asked.status in LIVE:
        at_work(context, asked, tr("Making smaller versions"), "stop-compress")
    else:
        if asked is not None and asked.status == "failed":
            note(asked.failure, "bad")
        _form(context, shown, asked)
    result = result_of(shown)
    if result:
        _result(context, shown, result)
    next_step(context, "/try", tr("On to trying it"), ready=bool(result))


def result_of(shown: RunView) -> dict[str, Any]:
    """What the last compression of this run found; {} where there was none."""
    try:
        data = json.loads((shown.folder / COMPRESSED / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _settings(context: Context) -> dict[str, Any]:
    kept = context.choices.notes.get(KEY, {})
    return {**DEFAULTS, **(kept if isinstance(kept, dict) else {})}


def _form(context: Context, shown: RunView, asked: Job | None) -> None:
    now = _settings(context)

    def keep(name: str) -> fields.Change:
        return lambda value: context.studio.memory.note(KEY, {**_settings(context), name: value})

    with card(tr("What may it cost?"), "asking"):
        with box("fields"):
            fields.number(
                "max-drop",
                tr("Points of accuracy that may be lost"),
                now["max_drop"],
                keep("max_drop"),
                low=0,
                high=100,
                explanation=tr(
                    "A version is refused unless it is sure to lose no more than this. With few pictures "
                    "nothing is sure: then allow more, or collect more."
                ),
            )
            fields.choice(
                "macs",
                tr("Pruned versions"),
                str(now["macs"]),
                [
                    ("", tr("none")),
                    ("0.5", tr("half of the work")),
                    ("0.5 0.25", tr("a half and a quarter")),
                    ("0.5 0.25 0.1", tr("a half, a quarter and a tenth")),
                ],
                keep("macs"),
                explanation=tr(
                    "How much of the network's work the pruned versions keep. Each is trained again after "
                    "channels were removed, which takes as long as half of the first training."
                ),
            )
            fields.number(
                "retrain",
                tr("Epochs after pruning"),
                now["epochs"],
                keep("epochs"),
                low=0,
                high=1000,
                step=1,
                explanation=tr(
                    "How long a pruned network learns to do without what was removed. 0 takes half of the "
                    "epochs of the first training."
                ),
            )
        with box("row"):
            text = tr("Go on") if asked is not None and asked.status == "stopped" else tr("Make it smaller")
            button(text, lambda: _ask(context, shown), kind="main", id="compress")


async def _ask(context: Context, shown: RunView) -> None:
    now = _settings(context)
    options = {
        "gates": {"max_drop": float(now["max_drop"] or 0), "max_latency_us": 0.0, "max_bytes": 0},
        "macs": list(SHARES.get(str(now["macs"]), (0.5, 0.25))),
        "epochs": int(now["epochs"] or 0),
        "qat_epochs": int(now["qat_epochs"] or 0),
    }
    _clear_other(shown, options)
    context.studio.jobs.add("compress", shown.name, {"run": str(shown.folder), "options": options})
    await context.again()


def _clear_other(shown: RunView, options: Mapping[str, Any]) -> None:
    """Other settings make other files: what was made with the old ones goes to a folder of its own."""
    from imago.studio.workspace import free

    folder, mark = shown.folder / COMPRESSED, shown.folder / f"{COMPRESSED}.json"
    making = json.dumps({name: options[name] for name in ("epochs", "qat_epochs")}, sort_keys=True)
    if folder.exists() and (not mark.exists() or mark.read_text(encoding="utf-8") != making):
        folder.rename(free(shown.folder / f"{COMPRESSED}-before"))
    mark.write_text(making, encoding="utf-8")


def _result(context: Context, shown: RunView, result: dict[str, Any]) -> None:
    candidates = sorted(result["candidates"], key=lambda row: row["p50_us"])
    with card(tr("All versions in one picture")):
        if result.get("chosen"):
            note(str(result["reason"]), "good")
        else:
            note(str(result["reason"]), "warn")
        Tag("p", tr("Up is more accurate, left is faster, a smaller dot is a smaller file."), "muted small")
        made = chart(
            _scatter(candidates, result), tr("accuracy against time, one dot per version"), "chart tall"
        )

        async def clicked(event: EChartPointClickEventArguments) -> None:
            row = next((one for one in candidates if one["name"] == event.name), None)
            if row is not None:
                await _pick(context, shown, row)

        made.on_point_click(clicked)
        with box("versions", "ul"):
            for row in candidates:
                _version(context, shown, row, best=row["name"] == result.get("chosen"))


def _version(context: Context, shown: RunView, row: dict[str, Any], *, best: bool) -> None:
    path = _path(shown, row)
    picked = context.choices.model_file == path

    async def pick() -> None:
        await _pick(context, shown, row)

    with box(tag="li"):
        made = button("", pick, aria_pressed=str(picked).lower(), data_version=row["name"])
        made.classes("tile slim", remove="button plain")
        with made:
            with box("row apart", "span"):
                Tag("strong", row["name"])
                if best:
                    Tag("span", tr("recommended"), "tag good")
            words = f"{percent(row['accuracy'])} · {row['p50_us'] / 1000:.2g} ms · {kilobytes(row['bytes'])}"
            Tag("span", words, "about")


async def _pick(context: Context, shown: RunView, row: dict[str, Any]) -> None:
    context.choose(model_file=_path(shown, row))
    ui.notify(tr("{name} is used from now on, to try and to deploy", name=row["name"]), type="positive")
    await context.again()


def _path(shown: RunView, row: dict[str, Any]) -> str:
    """Relative to the workspace."""
    return f"runs/{shown.name}/{COMPRESSED}/models/{row['model']}"


def _scatter(candidates: list[dict[str, Any]], result: dict[str, Any]) -> dict[str, Any]:
    largest = max(row["bytes"] for row in candidates)
    options = charts.frame(tr("milliseconds per picture (log)"), tr("accuracy"), percent=True)
    times = [row["p50_us"] / 1000 for row in candidates]
    limits = {"min": float(f"{min(times) / 1.25:.2g}"), "max": float(f"{max(times) * 1.25:.2g}")}
    options["xAxis"] |= {"type": "log", "minInterval": None, "splitLine": {"show": False}, **limits}
    options["tooltip"] = {"trigger": "item", "confine": True}
    options["legend"] = {"show": False}
    data = []
    for row in candidates:
        chosen = row["name"] == result.get("chosen")
        on_front = row["name"] in result.get("front", ())
        colour = charts.GREEN if chosen else charts.BLUE if on_front else charts.GREY
        data.append(
            {
                "name": row["name"],
                "value": [round(row["p50_us"] / 1000, 4), round(100 * row["accuracy"], 2)],
                "symbolSize": 10 + 34 * (row["bytes"] / largest) ** 0.5,
                "itemStyle": {"color": colour, "opacity": 0.85, "borderColor": "#fff", "borderWidth": 1.5},
                "label": {"show": chosen or row["name"] == "fp32-onnx"},
            }
        )
    options["series"] = [
        {
            "type": "scatter",
            "data": data,
            "labelLayout": {"moveOverlap": "shiftY"},
            "label": {"formatter": "{b}", "position": "top", "color": charts.INK, "fontFamily": charts.FONT},
        }
    ]
    return options
