"""Where the live page listens. Standard library only: what checks a board's health asks there, too."""

from __future__ import annotations

import re
from dataclasses import dataclass

from imago.edge_runtime.errors import InputError

PORT = 8080
LOCAL = ("localhost", "127.0.0.1", "::1")
ANYWHERE = ("0.0.0.0", "::", "")  # noqa: S104  compared, not bound
ADDRESS = re.compile(r"(?:(\[[^\]]+\]|[^:\[\]/]*):)?(\d{1,5})|(\[[^\]]+\]|(?!\d+$)[^:\[\]/]+)")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; ``host`` as it was given."""

    host: str
    port: int = PORT

    @classmethod
    def parse(cls, text: str) -> Address:
        """``8080``, ``192.168.1.5:8080``, ``[::1]:8080``, ``0.0.0.0``. Raises InputError."""
        match = ADDRESS.fullmatch(text.strip())
        if match is None or int(match[2] or PORT) > 65535:
            raise InputError(
                "'{text}' is no address; expected HOST:PORT, for example localhost:8080 or 0.0.0.0:8080",
                text=text,
            )
        host = (match[1] or match[3] or "localhost").strip("[]")
        return cls(host, int(match[2] or PORT))

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOCAL

    @property
    def near(self) -> str:
        """The host to ask from this machine itself."""
        if self.host in ("::", "::1"):
            return "::1"
        return "127.0.0.1" if self.host in (*ANYWHERE, "localhost") else self.host
