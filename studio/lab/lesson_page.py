"""Laboratory: the lesson's stations on one page."""

from __future__ import annotations

from imago.edge_runtime.messages import tr
from imago.studio.context import Context
from imago.studio.lab.looks import begin
from imago.studio.lab.tour import is_done, stations
from imago.studio.parts import Tag, box, link


def build(context: Context) -> None:
    """Fill the page."""
    begin(
        tr("Convolutional neural networks and their applications"),
        tr("From pixels to a network on a board. Every station can be opened again at any time."),
    )
    part = ""
    for number, station in enumerate(stations(), 1):
        if station.part != part:
            part = station.part
            Tag("h2", part)
            listed = box("stations", "ol")
        done = is_done(context.studio, station)
        with listed, box("station done" if done else "station", "li"):
            Tag("span", "✓" if done else str(number), "mark", aria_hidden="true")
            with box():
                Tag("h3", station.title)
                Tag("p", station.task, "muted")
                if done:
                    Tag("span", tr("done"), "sr")
            link(tr("Open"), station.path, "button", aria_label=tr("open {title}", title=station.title))
