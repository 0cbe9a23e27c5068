"""The page's building blocks: native HTML elements whose texts are texts, never markup.

Everything that users name (classes, files, runs) enters through ``text=`` or a property; Vue escapes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

Tone = Literal["plain", "good", "warn", "bad"]


class Tag(TextElement):
    """``Tag("p", "words", "lead", id="x")``: one element with a text, classes and attributes.

    Attributes with a dash are written with ``_`` (``aria_label``); None and False leave one out.
    """

    def __init__(self, tag: str, text: str = "", classes: str = "", **attributes: object) -> None:
        super().__init__(tag=tag, text=text)
        if classes:
            self.classes(classes)
        for name, value in attributes.items():
            if value is not None and value is not False:
                self._props[name.rstrip("_").replace("_", "-")] = value

    def set(self, name: str, value: object) -> None:
        """Change an attribute (None: take it away)."""
        self.props.set_optional(name.replace("_", "-"), value)

    def say(self, text: str) -> None:
        """Change the text."""
        if text != self.text:
            self.text = text


def box(classes: str = "", tag: str = "div", **attributes: object) -> Tag:
    """An element to put others into: ``with box("card"): …``."""
    return Tag(tag, "", classes, **attributes)


def title(text: str, lead: str = "") -> None:
    """The heading of a page, with a sentence below."""
    with box("head"):
        Tag("h1", text)
        if lead:
            Tag("p", lead, "lead")


def card(heading: str = "", classes: str = "", **attributes: object) -> Tag:
    """A section with a heading; a context manager."""
    made = box(f"card {classes}".strip(), "section", **attributes)
    if heading:
        with made:
            Tag("h2", heading)
    return made


def button(
    text: str,
    act: Callable[..., Any] | None = None,
    *,
    kind: Literal["main", "quiet", "plain", "danger"] = "plain",
    disabled: bool = False,
    **attributes: object,
) -> Tag:
    """A button. act: called (with no argument, or the event) when it is pressed."""
    made = Tag("button", text, f"button {kind}", type="button", disabled=disabled or None, **attributes)
    if act is not None:
        made.on("click", act, [])
    return made


def link(text: str, to: str, classes: str = "", **attributes: object) -> Tag:
    """A link to another page of the studio, or (with ``download=""``) to a file."""
    return Tag("a", text, classes, href=to, **attributes)


def note(text: str, tone: Tone = "plain") -> Tag:
    """A remark in a box of its own."""
    return Tag("p", text, f"note {tone}", role="alert" if tone == "bad" else None)


def figures(pairs: Sequence[tuple[str, str]], classes: str = "") -> None:
    """Names and values side by side."""
    with box(f"figures {classes}".strip(), "dl"):
        for name, value in pairs:
            with box():
                Tag("dt", name)
                Tag("dd", value)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", classes: str = "") -> None:
    """A table of plain texts; scrolls sideways where it does not fit."""
    with box("scroll", tabindex="0", role="region", aria_label=caption or None), box(classes, "table"):
        if caption:
            Tag("caption", caption, "sr")
        with box(tag="thead"), box(tag="tr"):
            for cell in head:
                Tag("th", cell, scope="col")
        with box(tag="tbody"):
            for row in rows:
                with box(tag="tr"):
                    for index, cell in enumerate(row):
                        Tag("th" if index == 0 else "td", cell, scope="row" if index == 0 else None)


def picture(source: str, alternative: str, classes: str = "", **attributes: object) -> Tag:
    """An image of the studio's own address space or a data URL. alternative: "" for mere decoration."""
    made = Tag("img", "", classes, src=source, loading="lazy", decoding="async", **attributes)
    made._props["alt"] = alternative
    return made


def chart(options: dict[str, Any], summary: str, classes: str = "chart") -> ui.echart:
    """An ECharts picture; ``summary`` is what a screen reader says instead."""
    made = ui.echart(options).classes(classes)
    made._props["role"] = "img"
    made._props["aria-label"] = summary
    return made


def meter(share: float | None, label: str) -> Tag:
    """A progress bar; None: nobody knows how far it is. ``set_meter`` moves it."""
    made = box("meter", role="progressbar", aria_label=label, aria_valuemin="0", aria_valuemax="100")
    with made:
        box("fill")
    set_meter(made, share)
    return made


def set_meter(made: Tag, share: float | None) -> None:
    """Move a progress bar."""
    made.set("aria_valuenow", None if share is None else str(round(100 * share)))
    made.classes(add="unknown" if share is None else "", remove="unknown" if share is not None else "")
    made.style(f"--share:{100 * (share or 0):.1f}%")
