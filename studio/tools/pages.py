"""Pages that are no step of the path: the menu shows them below the laboratory."""

from __future__ import annotations

from imago.studio.registry import Page

TOOLS: tuple[Page, ...] = (
    Page("search", "Search", "Let the computer find the best network.", "imago.studio.tools.search"),
)
