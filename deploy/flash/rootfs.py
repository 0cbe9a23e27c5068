"""A look into the image's root file system (ext4), through e2fsprogs' ``debugfs``: read only, no mount."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imago.deploy.flash.partitions import Partition
from imago.deploy.flash.tools import run_tool
from imago.edge_runtime.errors import InputError

EXT_MAGIC, EXT_MAGIC_PLACE = b"\x53\xef", 1024 + 56
NOT_FOUND = b"File not found"
MAX_FILE = 1 << 20


@dataclass(frozen=True, slots=True)
class RootFs:
    """The second partition of an image."""

    image: Path
    partition: Partition

    def check(self) -> None:
        """Raise InputError where there is no ext file system."""
        with self.image.open("rb") as file:
            file.seek(self.partition.start + EXT_MAGIC_PLACE)
            if file.read(2) != EXT_MAGIC:
                raise InputError(
                    "{path}: its second partition is not ext4; download the image again", path=self.image.name
                )

    def read(self, path: str) -> bytes | None:
        """A small file; None where there is none. ``path``: ours, never a user's text."""
        content = self._ask(f"cat {path}")
        return None if content is None else content[:MAX_FILE]

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        return self._ask(f"stat {path}") is not None

    def _ask(self, request: str) -> bytes | None:
        place = f"{self.image.name}?offset={self.partition.start}"
        return run_tool(("debugfs", "-R", request, place), folder=self.image.parent, missing=NOT_FOUND)
