"""Step: task. Also the welcome: what the way ahead is, and the shortest way along it."""

from __future__ import annotations

from nicegui import ui

from imago.edge_runtime.messages import tr
from imago.studio.context import Context
from imago.studio.parts import Tag, box, button, card, note, title
from imago.studio.steps.common import next_step
from imago.studio.training import all_runs

EXAMPLE = "insects"


def build(context: Context) -> None:
    """Fill the page."""
    title(
        tr("What shall the computer learn?"),
        tr(
            "Show it pictures, watch it learn, make it small, and put it on a board with a camera. "
            "Nothing leaves this computer."
        ),
    )
    with box("tiles"):
        _classification(context)
    _story()
    _example(context)
    next_step(context, "/model", tr("On to the network"), ready=bool(context.choices.task))


def _classification(context: Context) -> None:
    chosen = context.choices.task == "classification"

    async def choose() -> None:
        context.choose(task="classification")
        context.go("/model")

    with button("", choose, aria_pressed=str(chosen).lower()).classes("tile", remove="button plain"):
        Tag("strong", tr("Say what is on a picture"))
        Tag(
            "span",
            tr(
                "Image classification: for every picture one answer out of your classes, with how sure it is."
            ),
            "about",
        )


def _story() -> None:
    """The way in four pictures' worth of words."""
    parts = (
        (tr("Pictures"), tr("of two or more classes, from a folder, a zip or the webcam")),
        (tr("Network"), tr("from LeNet of 1998 to MobileNet, or one that you build yourself")),
        (tr("Training"), tr("with live curves; afterwards you see what it knows and where it errs")),
        (tr("Board"), tr("pruned and quantised by measurement, then on a Raspberry Pi with a camera")),
    )
    with box("story", "ol"):
        for head, text in parts:
            with box(tag="li"):
                Tag("strong", head)
                Tag("span", text)


def _example(context: Context) -> None:
    runs = all_runs(context.studio)
    with card(tr("The first time here?")):
        Tag(
            "p",
            tr(
                "Take the example: six drawn insects and LeNet-5. It needs no photos and no internet, and "
                "it trains in a minute or two."
            ),
            "muted",
        )
        with box("row"):
            button(tr("Use the example"), lambda: _take_example(context), kind="main", id="example")
    if runs:
        note(tr("{n} runs are in this workspace; the step bar leads to every step.", n=len(runs)))


async def _take_example(context: Context) -> None:
    from imago.studio.drawing import draw_insects

    context.choose(task="classification", model="lenet5", data=EXAMPLE)
    context.choose(parameters={**context.choices.parameters, "epochs": 30, "augment": "overhead"})
    draw_insects(context.studio, EXAMPLE)
    ui.navigate.to("/data")
