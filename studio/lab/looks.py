"""What the laboratory's pages share: their style sheet, and the way from one station to the next."""

from __future__ import annotations

from imago.studio.parts import Tag, title


def begin(heading: str, lead: str) -> None:
    """The head of a laboratory page."""
    Tag("link", rel="stylesheet", href="/static/lab.css")
    title(heading, lead)
