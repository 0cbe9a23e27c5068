"""What ``imago studio`` is asked to do; the one source of its defaults."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imago.edge_runtime.errors import InputError

PORT = 8765
LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class StudioOptions:
    """host, port: where to listen (port 0: any free one). folder: the workspace, with everything that is
    uploaded and trained (None: ``imago-studio`` in the user's home folder). browser: open one at the start.
    token: wanted from visitors where the address is not localhost ("": one is made). start: page to open.
    """

    host: str = "localhost"
    port: int = PORT
    folder: Path | None = None
    browser: bool = True
    token: str = ""
    start: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InputError(
                "--port is {value}; expected {low} to {high}", value=self.port, low=0, high=65535
            )

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the page."""
        return self.host in LOCAL

    @property
    def workspace(self) -> Path:
        """The folder in use."""
        return self.folder if self.folder is not None else Path.home() / "imago-studio"
