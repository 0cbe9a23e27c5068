"""Every page of the studio, in order: the steps of the path, the laboratory, and other tools.

A page is one module with a function ``build(context)`` that fills the page; its module is imported when the
page is opened for the first time. To add one: write the module, and a line in ``steps/pages.py``,
``lab/pages.py`` or ``tools/pages.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imago.studio.context import Context


@dataclass(frozen=True, slots=True)
class Page:
    """key: its address below the group's. title, hint: English texts with a translation in the catalogue
    (shown in menus: one or two words, and one sentence). module: dotted name of the module with ``build``.
    """

    key: str
    title: str
    hint: str
    module: str

    def builder(self) -> Callable[[Context], None]:
        """The function that fills the page."""
        build: Callable[[Context], None] = import_module(self.module).build
        return build


def steps() -> tuple[Page, ...]:
    """The path, from the task to the board."""
    from imago.studio.steps.pages import STEPS

    return STEPS


def laboratory() -> tuple[Page, ...]:
    """Pages to play with what the lesson explains."""
    from imago.studio.lab.pages import PAGES

    return PAGES


def tools() -> tuple[Page, ...]:
    """Pages that are no step of the path and no lesson."""
    from imago.studio.tools.pages import TOOLS

    return TOOLS


def addresses() -> dict[str, Page]:
    """Every page by its path in the address bar."""
    groups = (("", steps()), ("/lab", laboratory()), ("/tools", tools()))
    return {f"{prefix}/{page.key}": page for prefix, pages in groups for page in pages}
