"""Step: data: one set in detail: its classes with pictures, what the check says, and more pictures for it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from imago.edge_runtime.messages import language, tr
from imago.studio import fields
from imago.studio.context import Context
from imago.studio.datasets import Census, DataSet, census, content_stamp
from imago.studio.incoming import add_class
from imago.studio.jobs.job import Job
from imago.studio.language import in_thread
from imago.studio.parts import Tag, box, button, card, figures, note, picture
from imago.studio.steps.common import follow_once, job_line
from imago.studio.zone import zone

SHOWN_CLASSES, SHOWN_FILES = 60, 4
TONES = {"error": "bad", "warning": "warn", "info": ""}


def show_set(context: Context, found: DataSet) -> None:
    """What was seen in it last, at once; then as it is now: to count a large set takes a moment."""
    place = card(data_shown=found.name)
    key = f"seen {found.root}"

    def draw() -> None:
        if place.is_deleted:
            return
        place.clear()
        with place:
            Tag("h2", found.name)
            seen = context.kept.get(key)
            if seen is None:
                Tag("p", tr("counting pictures"), "muted", role="status")
            else:
                _contents(context, found, *seen)

    async def look() -> None:
        seen = await in_thread(lambda: (census(found), content_stamp(found)))
        if seen != context.kept.get(key):
            context.kept[key] = seen
            context.calmly(draw)

    draw()
    follow_once(look)


def _contents(context: Context, found: DataSet, counted: Census, stamp: str) -> None:
    splits = {split for row in counted.counts.values() for split in row}
    figures(
        [
            (tr("classes"), str(len(counted.classes))),
            (tr("pictures"), f"{counted.total:,}".replace(",", " ")),
            (
                tr("kept for the test"),
                _held(counted) if "test" in splits or "val" in splits else tr("a share"),
            ),
        ]
    )
    if counted.problem:
        note(counted.problem, "bad")
    for text in counted.notes:
        note(text)
    most = max((counted.of(name) for name in counted.classes), default=0)
    with box("classes", "ul"):
        for name in counted.classes[:SHOWN_CLASSES]:
            _class(found, counted, name, most, stamp)
    if len(counted.classes) > SHOWN_CLASSES:
        Tag("p", tr("… and {n} classes more", n=len(counted.classes) - SHOWN_CLASSES), "muted small")
    if counted.layout in ("", "class folders") and not found.linked:
        _collecting(context, found, counted)
    if counted.total:
        _checked(context, found, f"{language()} {stamp}")


def _held(counted: Census) -> str:
    return str(sum(row.get("test", 0) or row.get("val", 0) for row in counted.counts.values()))


def _class(found: DataSet, counted: Census, name: str, most: int, stamp: str) -> None:
    n = counted.of(name)
    with box("class", "li"):
        with box("row apart"):
            Tag("strong", name)
            Tag("span", str(n), "muted small")
        with box("bar", aria_hidden="true"):
            box("fill").style(f"width:{100 * n / max(1, most):.1f}%")
        with box("strip"):
            for split, index in counted.samples.get(name, ()):
                # the stamp: another picture has this index once one has come or gone before it
                place = f"{quote(found.name, safe='')}/{split}/{index}"
                picture(f"/api/picture/{place}?side=96&of={stamp}", "")


def _collecting(context: Context, found: DataSet, counted: Census) -> None:
    """More pictures and more classes for a set of one's own."""
    panel = box(
        "camera",
        data_set=found.name,
        data_insecure=tr("The browser gives the camera only to pages of this very computer, or over https."),
        data_refused=tr("There is no camera, or the browser was not allowed to use it."),
    )
    with panel:
        Tag("h3", tr("Collect pictures"))
        Tag("video", "", hidden=True, muted=True, playsinline=True)
        Tag("p", "", "camera-said small", role="status")
        for name in counted.classes[:SHOWN_CLASSES]:
            with box("row collected"):
                zone("class", name, folder=False, set=found.name, folder_=name)
                snap = button(
                    tr("Webcam"), data_folder=name, aria_label=tr("take a picture of {name}", name=name)
                )
                snap.on(
                    "click",
                    js_handler="(event) => imagoSnap(event.currentTarget.closest('.camera'),"
                    " event.currentTarget.dataset.folder)",
                )
        with box("row end"):
            fields.text(
                "class",
                tr("Name of a class"),
                context.kept.get("class", ""),
                lambda value: context.kept.update({"class": value}),
            )

            async def add() -> None:
                add_class(found, context.kept.get("class", ""))
                del context.kept["class"]
                await context.again()

            button(tr("Add the class"), add, id="add-class")


def _checked(context: Context, found: DataSet, stamp: str) -> None:
    """The data check, in a process of its own; its findings are kept until the pictures change."""
    asked = context.studio.jobs.find("check", data=str(found.root), stamp=stamp)
    if asked is None or asked.status in ("failed", "stopped"):
        arguments = {"data": str(found.root), "stamp": stamp}
        asked = context.studio.jobs.add("check", found.name, arguments, lane="side")
    place = box("findings", aria_live="polite")
    with place:
        Tag("h3", tr("Data check"))

        def done(job: Job) -> None:
            with place:
                if job.status == "done":
                    _findings(dict(job.report.result))
                else:
                    note(job.failure or tr("stopped"), "bad")

        if asked.status == "done":
            done(asked)
        else:
            job_line(context, asked.number, done)


def _findings(report: dict[str, Any]) -> None:
    found = report.get("findings", [])
    if not found:
        note(tr("Nothing to complain about: every picture opens, and no class stands out."), "good")
    for finding in found:
        with note("", TONES.get(finding.get("severity", "info"), "") or "plain"):  # type: ignore[arg-type]
            Tag("span", str(finding.get("message", "")))
            names = [str(name) for name in finding.get("files", [])]
            if names:
                more = f" … +{len(names) - SHOWN_FILES}" if len(names) > SHOWN_FILES else ""
                Tag("span", ", ".join(names[:SHOWN_FILES]) + more, "files")
