"""What several steps show: the way on, jobs at work, and which run is looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import ui

from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import duration
from imago.studio import fields
from imago.studio.context import Context
from imago.studio.jobs.job import Job
from imago.studio.parts import Tag, box, button, card, link, meter, note, set_meter
from imago.studio.training import RunView, all_runs, chosen_run

LOOK_S = 0.5


def next_step(context: Context, path: str, text: str, *, ready: bool = True) -> None:
    """The button at the end of a step."""
    with box("onward"):
        link(text, path, "button main" if ready else "button")


def follow(context: Context, act: Callable[[], Any]) -> None:
    """Call ``act`` twice a second while the page is open."""
    ui.timer(LOOK_S, act)


def follow_once(act: Callable[[], Any]) -> None:
    """Call ``act`` as soon as the page is there: for what takes a moment to find out."""
    ui.timer(0, act, once=True)


def job_line(context: Context, number: int, done: Callable[[Job], Any]) -> None:
    """A job's progress on one line; ``done`` is called once when it has ended, however it did."""
    with box("job", role="status"):
        words = Tag("p", "", "small")
        bar = meter(None, tr("progress"))
    told = False

    async def look() -> None:
        nonlocal told
        job = context.studio.jobs.get(number)
        if job is None or told:
            return
        words.say(progress_words(job))
        set_meter(bar, job.share)
        if job.status in ("done", "failed", "stopped"):
            told = True
            result = done(job)
            if hasattr(result, "__await__"):
                await result

    follow(context, look)


def at_work(context: Context, asked: Job, heading: str, stop_id: str) -> None:
    """A card with a job's progress and a button that stops it; the page is drawn anew when it has ended."""
    with card(heading):

        async def done(job: Job) -> None:
            await context.again()

        job_line(context, asked.number, done)
        with box("row"):
            button(tr("Stop"), lambda: context.studio.jobs.wish(asked.number, "stop"), id=stop_id)


def progress_words(job: Job) -> str:
    """``training 120/400, 0:31 left``."""
    if job.status == "queued":
        return tr("waiting for its turn")
    if job.status == "paused":
        return tr("paused")
    label = job.report.label or tr("starting")
    if not job.report.total:
        return label
    left = "" if job.left_s is None else ", " + tr("{time} left", time=duration(job.left_s))
    return f"{label} {job.report.done}/{job.report.total}{left}"


def run_or_hint(context: Context) -> RunView | None:
    """The run that is looked at, with a choice among all; or a word on what has to come first."""
    shown = chosen_run(context.studio)
    if shown is None:
        note(tr("There is no trained network yet: train one first."), "warn")
        with box("row"):
            link(tr("To the training"), "/train", "button main")
        return None
    names = [one.name for one in all_runs(context.studio) if one.finished]

    async def choose(name: str) -> None:
        context.choose(run=name, model_file="")
        await context.again()

    if len(names) > 1:
        with box("pick"):
            fields.choice("run", tr("Run"), shown.name, [(name, name) for name in names], choose)
    return shown


def percent(share: float | None, digits: int = 1) -> str:
    """``0.912`` → ``91.2 %``."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def kilobytes(size: int) -> str:
    """``61706`` → ``62 kB``."""
    return f"{size / 1e6:.1f} MB" if size >= 1_000_000 else f"{max(1, round(size / 1000))} kB"


def ask(text: str, yes: str, act: Callable[[], Any]) -> None:
    """A question before something is lost."""
    with ui.dialog(value=True) as dialog, box("card ask", role="alertdialog", aria_label=text):
        Tag("p", text)
        with box("row"):

            async def sure() -> None:
                dialog.close()
                result = act()
                if hasattr(result, "__await__"):
                    await result

            button(yes, sure, kind="danger")
            button(tr("Cancel"), dialog.close)


def model_or_hint(context: Context) -> tuple[RunView, str] | None:
    """The run that is looked at and its model file in use, or None with a word on what to do first."""
    shown = run_or_hint(context)
    if shown is None:
        return None
    model = model_in_use(context, shown)
    if not model:
        note(tr("This run has no model file yet; train it again, or go on with it."), "warn")
        return None
    return shown, model


def model_in_use(context: Context, shown: RunView) -> str:
    """The picked model file if it is one of this run, else the plain one; relative to the workspace."""
    root = context.studio.workspace.root
    names = [path.relative_to(root).as_posix() for path in shown.models]
    if context.choices.model_file in names:
        return context.choices.model_file
    return names[0] if names else ""
