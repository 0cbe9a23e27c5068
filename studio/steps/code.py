"""Step: code. The program of what was chosen, to read, copy and take away."""

from __future__ import annotations

from pathlib import Path

from nicegui import ui

from imago.edge_runtime.messages import tr
from imago.studio.context import Context
from imago.studio.parts import Tag, box, button, card, link, note, title
from imago.studio.program import program
from imago.studio.steps.common import next_step
from imago.studio.training import open_questions, plan


def build(context: Context) -> None:
    """Fill the page."""
    title(
        tr("The same as a Python program"),
        tr("This is what the training step does. Run it anywhere; it ends in the very same network."),
    )
    missing = open_questions(context.studio)
    if missing:
        for path, text in missing:
            with note("", "warn"):
                link(text, path)
        return
    wanted = plan(context.studio)
    text = program(wanted.config, wanted.data, Path("runs") / wanted.name)
    with card(classes="code-card"):
        with box("row apart"):
            Tag("h2", "train.py")
            with box("row"):
                copied = Tag("span", "", "small muted", role="status")
                button(tr("Copy"), lambda: _copy(text, copied), id="copy")
                button(tr("Save"), lambda: ui.download.content(text, "train.py", "text/x-python"), id="save")
        with box("code", "pre", tabindex="0", role="region", aria_label="train.py"):
            Tag("code", text, id="program")
    with card(tr("What the parts are")), box("glossary", "dl"):
        for name, about in _glossary():
            with box():
                Tag("dt", name)
                Tag("dd", about)
    next_step(context, "/train", tr("On to the training"))


def _copy(text: str, said: Tag) -> None:
    ui.clipboard.write(text)
    said.say(tr("copied"))


def _glossary() -> tuple[tuple[str, str], ...]:
    return (
        ("TrainConfig", tr("all parameters in one value; what is not named keeps its default")),
        ("train", tr("reads the pictures, splits them, trains, keeps the best epoch and measures it")),
        ("export_run", tr("writes the network as ONNX and checks that the file answers as the network does")),
        ("DATA, OUT", tr("where the pictures are, and where the result goes")),
    )
