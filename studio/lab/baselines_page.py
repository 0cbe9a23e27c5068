"""Laboratory: before networks. What older methods make of the same pictures, beside the trained networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import ImagoError
from imago.edge_runtime.messages import tr
from imago.studio.context import Context
from imago.studio.datasets import find_set
from imago.studio.jobs.job import LIVE, Job
from imago.studio.lab.looks import begin
from imago.studio.parts import Tag, box, button, card, link, note, table
from imago.studio.steps.common import job_line, kilobytes, percent
from imago.studio.training import all_runs
from imago.studio.workspace import free

NOTE, FOLDER, RESULT = "/lab/baselines", "baselines", "baseline.json"


def classifier_names() -> dict[str, str]:
    """The classical classifiers' names; networks have their own."""
    return {
        "knn": tr("k nearest neighbours"),
        "svm": tr("linear SVM"),
        "forest": tr("random forest"),
    }


def result_of(folder: Path) -> list[dict[str, Any]]:
    """The rows that ``imago baseline`` left, the most accurate first; none where there is no (sound) file."""
    try:
        rows = json.loads((folder / RESULT).read_text(encoding="utf-8"))["rows"]
        return sorted((dict(row) for row in rows), key=lambda row: -float(row["accuracy"]))
    except (OSError, ValueError, KeyError, TypeError):
        return []


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """One row of the table, as text."""
    low, high = row["interval"]
    seconds = row.get("train_s")
    return (
        classifier_names().get(row["kind"], str(row["kind"])),
        setting_words(str(row["setting"])),
        percent(float(row["accuracy"])),
        f"{percent(float(low))} – {percent(float(high))}",
        kilobytes(int(row["bytes"])) if row["bytes"] else "–",
        "–" if seconds is None else f"{float(seconds):.1f} s",
    )


def setting_words(setting: str) -> str:
    """What ``imago baseline`` has noted, in the visitor's language: ``200 trees``. ``k = 5`` stays."""
    number, _, what = setting.partition(" ")
    if what == "trees":
        return tr("{n} trees", n=number)
    return tr("{n} epochs", n=number) if what == "epochs" else setting


def build(context: Context) -> None:
    """Fill the page."""
    begin(
        tr("Before networks"),
        tr(
            "Nearest neighbours, a straight border and a forest of decision trees see plain pixels and know "
            "nothing of shapes. How far do they get with your pictures, and what does a network gain?"
        ),
    )
    with card(tr("What they do")), box("glossary", "dl"):
        for name, about in (
            (tr("k nearest neighbours"), tr("look up the most similar training pictures, and vote")),
            (tr("linear SVM"), tr("draws one straight border per class, with the widest margin")),
            (tr("random forest"), tr("asks hundreds of decision trees about single pixels, and averages")),
        ):
            with box():
                Tag("dt", name)
                Tag("dd", about)
    try:
        found = find_set(context.studio.workspace, context.choices.data) if context.choices.data else None
    except ImagoError:
        found = None
    if found is None:
        with note("", "warn"):
            link(tr("Choose pictures first."), "/data")
        return
    _work(context, found.root)


def _work(context: Context, data: Path) -> None:
    kept = context.choices.notes.get(NOTE)
    noted: dict[str, Any] = kept if isinstance(kept, dict) and kept.get("data") == str(data) else {}
    job = context.studio.jobs.get(int(noted.get("job", 0)))

    async def ended(done: Job) -> None:
        await context.again()

    with card(tr("Compare")):
        if job is not None and job.status in LIVE:
            job_line(context, job.number, ended)
        else:
            if job is not None and job.failure:
                note(job.failure, "bad")
            Tag(
                "p",
                tr("All training pictures, at most 5,000, as 32×32 grey; it takes a minute or two."),
                "muted",
            )
            button(tr("Compare now"), lambda: _begin(context, data), kind="main", id="compare")
    rows = result_of(Path(str(noted.get("out", "")))) if noted else []
    if rows:
        with card(tr("On the same test pictures")):
            head = (
                tr("classifier"),
                tr("setting"),
                tr("accuracy"),
                tr("95 % interval"),
                tr("file"),
                tr("learning time"),
            )
            table(head, [cells(row) for row in rows], tr("On the same test pictures"))


async def _begin(context: Context, data: Path) -> None:
    """Ask for it, beside the networks that learned from these very pictures."""
    out = free(context.studio.workspace.root / FOLDER / context.choices.data)
    lines = [["baseline", str(data), "--out", str(out)]]
    for one in all_runs(context.studio):
        if one.finished and one.result and Path(one.run.data["root"]) == data.resolve():
            lines[0] += ["--run", str(one.folder)]
    job = context.studio.jobs.add(
        "commands", f"baseline {context.choices.data}", {"lines": lines}, lane="side"
    )
    context.studio.memory.note(NOTE, {"data": str(data), "out": str(out), "job": job.number})
    await context.again()
