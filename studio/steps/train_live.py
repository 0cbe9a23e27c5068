"""Step: train: one training as it happens: figures, curves, and how it ended."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from nicegui import ui

from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import duration
from imago.studio.charts import accuracy_chart, curve_data, loss_chart
from imago.studio.context import Context
from imago.studio.jobs.job import Job
from imago.studio.parameters import advanced, basic
from imago.studio.parts import Tag, box, card, chart, link, meter, note, set_meter
from imago.studio.steps.common import follow, percent
from imago.studio.training import rows_of
from imago.train.run import RUN_FILE


class Live:
    """Built once; ``look`` moves what has changed."""

    def __init__(self, context: Context, job: Job) -> None:
        self._context, self._number = context, job.number
        self._run = context.studio.workspace.runs / job.order.title
        self._rows: tuple[dict[str, Any], ...] = ()
        self._ended = ""
        with card(job.order.title, "live", data_live=str(job.number)):
            self._bar = meter(job.share, tr("progress"))
            self._figures()
            with box("columns"):
                self._loss = self._chart(tr("Loss"), loss_chart(()))
                self._accuracy = self._chart(tr("Accuracy"), accuracy_chart(()))
            self._end = box("stack", aria_live="polite")
        self.look()
        follow(context, self.look)

    def _figures(self) -> None:
        names = {
            "epoch": tr("epoch"),
            "left": tr("time left"),
            "rate": tr("images/s"),
            "loss": tr("loss"),
            "accuracy": tr("validation accuracy"),
        }
        self._values: dict[str, Tag] = {}
        with box("figures", "dl"):
            for key, name in names.items():
                with box():
                    Tag("dt", name)
                    self._values[key] = Tag("dd", "–", data_figure=key)

    def _chart(self, name: str, options: dict[str, Any]) -> ui.echart:
        with box("stack small-gap"):
            Tag("h3", name)
            return chart(options, tr("{name} over the epochs", name=name))

    def look(self) -> None:
        """Bring everything up to date."""
        job = self._context.studio.jobs.get(self._number)
        if job is None:
            return
        rows = rows_of(self._run)
        if rows != self._rows:
            self._rows = rows
            self._draw()
        self._tell(job)
        if job.status != self._ended:
            self._ended = job.status
            self._end.clear()
            with self._end:
                _ending(job, self._run)

    def _draw(self) -> None:
        for made, keys in ((self._loss, "loss"), (self._accuracy, "accuracy")):
            for series, data in zip(made.options["series"], curve_data(self._rows, keys), strict=True):
                series["data"], series["showSymbol"] = data, len(data) < 2
            made.update()

    def _tell(self, job: Job) -> None:
        epochs = int(job.order.arguments["config"]["epochs"])
        last = self._rows[-1] if self._rows else {}
        running = job.status == "running"
        done = len(self._rows)
        self._values["epoch"].say(f"{min(done + running, epochs)} / {epochs}")
        self._values["left"].say(_left(job))
        self._values["rate"].say(self._rate(job, last))
        self._values["loss"].say(f"{last['train_loss']:.3f}" if last else "–")
        self._values["accuracy"].say(percent(last.get("val_accuracy")))
        set_meter(self._bar, 1.0 if job.status == "done" else (job.share or (done / epochs)))

    def _rate(self, job: Job, last: dict[str, Any]) -> str:
        """Of the last epoch; in the first one from the steps done so far."""
        if last:
            return f"{last['images_per_s']:.0f}"
        config = job.order.arguments["config"]
        learning = job.report.total > 0 and job.report.total % int(config["epochs"]) == 0
        if not learning or not (self._run / RUN_FILE).exists() or not job.report.rate:
            return "–"
        return f"{job.report.rate * int(config['batch_size']):.0f}"


def _left(job: Job) -> str:
    if job.status != "running" or job.left_s is None:
        return "–"
    return duration(job.left_s)


def _ending(job: Job, run: Path) -> None:
    """How it ended, and what to do next."""
    if job.status == "done":
        note(tr("Done. Everything is saved in {path}", path=run), "good")
        with box("row"):
            link(tr("What has it learnt?"), "/understand", "button")
            link(tr("Try it"), "/try", "button")
    elif job.status == "failed":
        with note("", "bad"):
            Tag("strong", tr("This training has failed."))
            Tag("span", job.failure)
        _remedies(job)
    elif job.status in ("paused", "stopped"):
        note(tr("Nothing is lost: it can go on from the very step at which it was interrupted."))


def _remedies(job: Job) -> None:
    """Flags in a message are fields of this page: link them."""
    flags = set(re.findall(r"--([a-z-]+)", job.report.error))
    for key in ("name", "reason"):
        value = str(job.report.values.get(key, ""))
        flags |= {value} if re.fullmatch(r"[a-z-]+", value) else set()
    names = {"width": "width_mult"}
    wanted = {names.get(flag, flag.replace("-", "_")) for flag in flags}
    with box("row"):
        for parameter in (*basic(), *advanced()):
            if parameter.name.removeprefix("data.") in wanted:
                link(tr("Change: {name}", name=parameter.label), "/parameters", "button")
        link(tr("To the data"), "/data", "button")
        link(tr("To the parameters"), "/parameters", "button")
