"""Networks of one's own among the models to choose from."""

from __future__ import annotations

from imago.edge_runtime.messages import tr
from imago.studio.context import Context
from imago.studio.lab.nets import saved
from imago.studio.parts import Tag, box, button, link
from imago.train.models.plan import NET, Plan


def own_nets(context: Context) -> None:
    """Tiles of the saved networks, and the way to the builder."""
    found = saved(context.studio.workspace)
    with box("family"):
        Tag("h2", tr("Your own"))
        with box("row"):
            Tag("p", tr("Put together layer by layer in the laboratory."), "muted small")
            link(tr("Build a network"), "/lab/builder", "button", id="to-builder")
        if found:
            with box("tiles"):
                for plan in found:
                    _tile(context, plan)


def _tile(context: Context, plan: Plan) -> None:
    async def choose() -> None:
        context.choose(model=NET + plan.name)
        await context.again()

    pressed = str(context.choices.model == NET + plan.name).lower()
    made = button("", choose, aria_pressed=pressed, data_model=NET + plan.name)
    made.classes("tile", remove="button plain")
    channels, height, width = plan.input
    params, _ = plan.trace().totals
    with made:
        Tag("strong", plan.name)
        Tag("span", " → ".join(layer.TITLE for layer in plan.layers)[:160], "about")
        with box("row", "span"):
            Tag("span", f"{width}×{height}×{channels}", "tag")
            Tag("span", tr("{n} parameters", n=f"{params:,}"), "tag")
