"""Step: data. Sets of the workspace, ways to add one, and what is in the chosen one."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from imago.edge_runtime.messages import tr
from imago.studio import fields
from imago.studio.context import SENT, Context
from imago.studio.datasets import DataSet, all_sets, link_folder, remove_set
from imago.studio.incoming import begin_set
from imago.studio.jobs.job import Job
from imago.studio.parts import Tag, box, button, card, note, title
from imago.studio.steps.common import ask, job_line, next_step
from imago.studio.steps.data_set import show_set
from imago.studio.zone import zone


def build(context: Context) -> None:
    """Fill the page."""
    context.listeners[SENT] = lambda answer: _arrived(context, answer)
    title(
        tr("Which pictures?"),
        tr("One folder of pictures per class is all it takes; the number of classes is counted, not typed."),
    )
    sets = all_sets(context.studio.workspace)
    chosen = next((one for one in sets if one.name == context.choices.data), None)
    with box("columns wide-left"):
        with box("stack"):
            drawing = _drawing(context)
            if chosen is not None:
                show_set(context, chosen)
            elif sets:
                note(tr("Choose one of the sets on this computer, or add one."))
            elif not drawing:
                note(tr("There are no pictures yet: add some, or let the computer draw insects."))
        with box("stack"):
            if sets:
                _shelf(context, sets)
            _add(context)
    next_step(context, "/parameters", tr("On to the parameters"), ready=chosen is not None)


async def _arrived(context: Context, answer: dict[str, Any]) -> None:
    """Files have come: show the set that they are in."""
    name, failed = str(answer.get("set", "")), int(answer.get("failed", 0))
    if any(one.name == name for one in all_sets(context.studio.workspace)):
        context.choose(data=name)
        await context.again()
    if failed:
        ui.notify(tr("{n} files were refused and left out", n=failed), type="warning", timeout=8000)


def _shelf(context: Context, sets: list[DataSet]) -> None:
    with card(tr("On this computer")), box("shelf"):
        for one in sets:
            _entry(context, one)


def _entry(context: Context, one: DataSet) -> None:
    async def choose() -> None:
        context.choose(data=one.name)
        await context.again()

    async def remove() -> None:
        remove_set(context.studio.workspace, one.name)
        if context.choices.data == one.name:
            context.choose(data="")
        await context.again()

    with box("row apart shelved"):
        pressed = str(one.name == context.choices.data).lower()
        made = button("", choose, aria_pressed=pressed, data_set=one.name)
        made.classes("tile slim", remove="button plain")
        with made:
            Tag("strong", one.name)
            if one.linked:
                Tag("span", str(one.root), "about")
        question = (
            tr("Forget the folder {name}? Its pictures stay where they are.", name=one.name)
            if one.linked
            else tr("Delete the set {name} with all its pictures?", name=one.name)
        )
        label = tr("delete {name}", name=one.name)
        button("✕", lambda: ask(question, tr("Delete"), remove), kind="quiet", aria_label=label, title=label)


def _add(context: Context) -> None:
    with card(tr("Add pictures")):
        zone(
            "set",
            tr("Drop a zip or a folder here"),
            tr("one folder per class inside"),
            fallback=tr("my pictures"),
        )
        with box("row"):
            button(tr("Draw insects"), lambda: _draw(context), id="draw")
            button(tr("New collection"), lambda: _collect(context), id="collect")
        if context.studio.local:
            _folder(context)


def _folder(context: Context) -> None:
    """A folder of this computer is used where it lies; nothing is copied."""
    with box("details", "details"):
        Tag("summary", tr("Use a folder where it lies"))
        fields.text(
            "folder",
            tr("Path of the folder"),
            context.kept.get("folder", ""),
            lambda value: context.kept.update(folder=value),
            placeholder="/home/class/photos",
            explanation=tr("Nothing is copied and nothing in it is changed."),
        )

        async def use() -> None:
            linked = link_folder(context.studio.workspace, context.kept.get("folder", ""))
            del context.kept["folder"]
            context.choose(data=linked.name)
            await context.again()

        button(tr("Use this folder"), use, id="use-folder")


async def _draw(context: Context) -> None:
    from imago.studio.drawing import draw_insects

    draw_insects(context.studio, "insects")
    context.choose(data="insects")
    await context.again()


async def _collect(context: Context) -> None:
    made = begin_set(context.studio.workspace, tr("my pictures"))
    context.choose(data=made.name)
    await context.again()


def _drawing(context: Context) -> bool:
    """Sets that are being drawn; whether there are any."""
    jobs = [job for job in context.studio.jobs.live() if job.order.kind == "draw"]
    for job in jobs:

        async def done(ended: Job) -> None:
            if ended.status == "done":
                await context.again()
            else:
                note(ended.failure or tr("stopped"), "bad")

        with card(tr("Drawing insects")):
            job_line(context, job.number, done)
    return bool(jobs)
