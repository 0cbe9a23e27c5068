"""Places to drop files; ``static/send.js`` sends them and tells the page when it is done."""

from __future__ import annotations

from imago.edge_runtime.messages import tr
from imago.studio.parts import Tag, box


def zone(
    kind: str,
    text: str,
    hint: str = "",
    *,
    folder: bool = True,
    **data: str,
) -> Tag:
    """A place to drop files, with buttons for those who cannot drag.

    kind: "set" (a zip or class folders become a data set), "class" (pictures go into ``set`` / ``folder_``),
    "look" (one picture is kept), "try" (pictures are asked about). What came of it the page is told: one of
    ``context.EVENTS``.
    """
    attributes = {f"data_{name}": value for name, value in data.items()}
    made = box(
        "zone",
        data_drop=kind,
        data_busy=tr("sending {n} of {total}"),
        data_nothing=tr("there is no picture among these files"),
        **attributes,
    )
    with made:
        Tag("strong", text)
        if hint:
            Tag("span", hint, "muted small")
        with box("row"):
            with box("button", "label"):
                Tag("span", tr("Choose files"))
                accept = "image/*,.zip" if kind == "set" else "image/*"
                Tag("input", "", "sr", type="file", multiple=True, accept=accept)
            if folder:
                with box("button", "label"):
                    Tag("span", tr("Choose a folder"))
                    Tag("input", "", "sr", type="file", webkitdirectory=True, multiple=True)
        Tag("p", "", "zone-said small", role="status")
    return made
