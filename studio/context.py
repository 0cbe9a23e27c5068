"""What a page gets: the studio, and how to get to another page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nicegui import ui

from imago.edge_runtime.messages import language

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
    """One page that one visitor has open. path: its address."""

    studio: Studio
    path: str = "/"
    language: str = field(default_factory=language)

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
        """Build this page anew."""
        await ui.context.client.sub_pages_router.refresh()
