"""What a page gets: the studio, and how to get to another page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nicegui import ui

from imago.edge_runtime.messages import language

TYPING = "imagotyping"  # somebody begins to type into a field, or has done
SENT, KEPT = "imagosent", "imagokept"  # a set or class got files; a picture is kept to be looked at
EVENTS = (SENT, KEPT)

if TYPE_CHECKING:
    from imago.studio.choices import Choices, Memory
    from imago.studio.jobs.queue import Queue
    from imago.studio.workspace import Workspace


@dataclass
class Studio:
    """One running studio, the same for all visitors. local: only this computer can reach it.

    lesson: whether the guided tour was asked for (``--lesson``).
    """

    workspace: Workspace
    memory: Memory
    jobs: Queue
    lesson: bool = False
    local: bool = True

    @property
    def choices(self) -> Choices:
        """What has been chosen so far; ``memory.change(...)`` chooses."""
        return self.memory.now


@dataclass
class Context:
    """One page that one visitor has open. path: its address. rebuild: fills the page anew.

    kept: what the page remembers while it is open, whatever is drawn anew. listeners: what it does when its
    scripts tell it something, one of ``EVENTS``.
    """

    studio: Studio
    path: str = "/"
    language: str = field(default_factory=language)
    rebuild: Callable[[], None] = lambda: None
    kept: dict[str, Any] = field(default_factory=dict)
    listeners: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    _typing: bool = False
    _waiting: list[Callable[[], None]] = field(default_factory=list)

    @property
    def choices(self) -> Choices:
        """What has been chosen so far."""
        return self.studio.choices

    def choose(self, **values: object) -> None:
        """Change ``Choices``: ``context.choose(model="lenet5")``."""
        self.studio.memory.change(**values)

    def go(self, path: str) -> None:
        """Show another page: ``context.go("/train")``."""
        ui.navigate.to(path)

    async def again(self) -> None:
        """Build this page anew, where the visitor is on it."""
        self.calmly(self.rebuild)

    def calmly(self, redraw: Callable[[], None]) -> None:
        """Redraw something now, or as soon as nobody is in the middle of typing."""
        if not self._typing:
            redraw()
        elif redraw not in self._waiting:
            self._waiting.append(redraw)

    def typing(self, begun: bool) -> None:
        """Somebody begins to type on this page, or has done."""
        self._typing = begun
        if not begun:
            waiting, self._waiting = self._waiting, []
            for redraw in waiting:
                redraw()
