"""Step: train. Begin, follow, pause, stop and go on; the queue; what went wrong and what helps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import duration
from imago.studio.context import Context
from imago.studio.jobs.job import LIVE, Job
from imago.studio.parts import Tag, box, button, card, link, note, title
from imago.studio.steps.common import follow, next_step, progress_words
from imago.studio.steps.train_live import Live
from imago.studio.training import begin, open_questions, plan

SHOWN_JOBS = 30


def build(context: Context) -> None:
    """Fill the page."""
    title(
        tr("Training"),
        tr("It goes on when you close this page, and when you look at other steps meanwhile."),
    )
    _begin(context)
    shown = _shown(context)
    if shown is not None:
        Live(context, shown)
    _queue(context)
    next_step(context, "/understand", tr("On to what it has learnt"), ready=shown is not None)


def _begin(context: Context) -> None:
    missing = open_questions(context.studio)
    with card(classes="begin"):
        for path, text in missing:
            with note("", "warn"):
                link(text, path)
        if missing:
            return
        wanted = plan(context.studio)
        with box("row apart"):
            with box():
                Tag("strong", tr("{model} on {data}", model=wanted.config.network, data=context.choices.data))
                words = tr(
                    "{epochs} epochs, batch {batch}, {optimizer}, learning rate {lr}",
                    epochs=wanted.config.epochs,
                    batch=wanted.config.batch_size,
                    optimizer=wanted.config.optimizer,
                    lr=f"{wanted.config.peak_lr:.3g}",
                )
                Tag("p", words, "muted small")
            busy = any(job.order.lane == "main" for job in context.studio.jobs.live())
            text = tr("Put into the queue") if busy else tr("Start the training")
            button(text, lambda: _start(context), kind="main", id="start")


async def _start(context: Context) -> None:
    begin(context.studio)
    await context.again()


def _trainings(context: Context) -> list[Job]:
    return [job for job in context.studio.jobs.jobs() if job.order.kind == "train"]


def _shown(context: Context) -> Job | None:
    """The one that runs, else the one that was looked at last, else the newest."""
    jobs = _trainings(context)
    running = [job for job in jobs if job.status == "running"]
    chosen = [job for job in jobs if job.order.title == context.choices.run and job.status != "queued"]
    return next(iter([*running, *chosen, *jobs]), None)


def _queue(context: Context) -> None:
    jobs = _trainings(context)[:SHOWN_JOBS]
    if not jobs:
        return
    with card(tr("All trainings")):
        lines = {}
        with box("queue", "ul"):
            for job in jobs:
                with box("row apart", "li", data_job=str(job.number), data_status=job.status):
                    with box():
                        button(job.order.title, _looker(context, job), kind="quiet")
                        lines[job.number] = Tag("p", _state(job), "muted small state")
                    with box("row"):
                        _handles(context, job)
    version = _signature(context)

    async def look() -> None:
        if _signature(context) != version:
            await context.again()
            return
        for number, line in lines.items():
            now = context.studio.jobs.get(number)
            if now is not None:
                line.say(_state(now))

    follow(context, look)


def _signature(context: Context) -> tuple[tuple[int, str], ...]:
    """Changes when a job comes or another state begins; then the page is built anew."""
    return tuple((job.number, job.status) for job in _trainings(context)[:SHOWN_JOBS])


def _looker(context: Context, job: Job) -> Callable[[], Awaitable[None]]:
    async def look() -> None:
        context.choose(run=job.order.title)
        await context.again()

    return look


def _state(job: Job) -> str:
    if job.status == "running":
        return progress_words(job)
    words = {
        "queued": tr("waiting for its turn"),
        "paused": tr("paused; the queue waits"),
        "stopped": tr("stopped; what was learnt is kept"),
        "done": tr("done in {time}", time=duration(job.report.seconds)),
        "failed": tr("failed"),
    }
    return words[job.status]


def _handles(context: Context, job: Job) -> None:
    """What can be done with a job now."""
    jobs = context.studio.jobs
    named: dict[str, Any] = {"data_job": str(job.number)}
    if job.status == "running":
        button(tr("Pause"), lambda: jobs.wish(job.number, "pause"), data_act="pause", **named)
        button(tr("Stop"), lambda: jobs.wish(job.number, "stop"), data_act="stop", **named)
    elif job.status in LIVE:
        if job.status == "paused":
            button(tr("Go on"), lambda: jobs.resume(job.number), kind="main", data_act="resume", **named)
        button(tr("Take out"), lambda: jobs.wish(job.number, "stop"), data_act="stop", **named)
    elif job.status in ("stopped", "failed"):
        button(tr("Go on"), lambda: jobs.resume(job.number), data_act="resume", **named)
