"""The laboratory's pages, in the order of the lesson."""

from __future__ import annotations

from imago.studio.registry import Page

PAGES: tuple[Page, ...] = ()
