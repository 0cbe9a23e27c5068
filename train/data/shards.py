"""Pictures inside tar files, as WebDataset has them, read in place.

A picture in a shard has a path like any other, which says where its bytes lie:
``train-000000.tar|OFFSET|SIZE|bee/0001.jpg``. Nothing is unpacked, and no name from inside an archive is ever
used as a path on this machine.
"""

from __future__ import annotations

import os
from pathlib import Path

SEPARATOR = "|"


def member_path(shard: str, offset: int, size: int, name: str) -> str:
    """Path of ``size`` bytes at ``offset`` of the file ``shard`` (relative to the data set's root)."""
    return SEPARATOR.join((shard, f"{offset:013}", str(size), name))


def place_of(path: str) -> tuple[str, int, int] | None:
    """Shard, offset and size; None for an ordinary file."""
    parts = path.split(SEPARATOR, 3)
    if len(parts) < 4 or not (parts[1].isdigit() and parts[2].isdigit()):
        return None
    return parts[0], int(parts[1]), int(parts[2])


def source(root: Path, path: str) -> Path | bytes:
    """What ``read_image`` takes: the file, or the bytes in a shard. Raises OSError."""
    place = place_of(path)
    return root / path if place is None else _bytes(root, place)


def content_of(root: Path, path: str) -> bytes:
    """The bytes of a picture file, wherever it lies. Raises OSError."""
    place = place_of(path)
    return (root / path).read_bytes() if place is None else _bytes(root, place)


def file_of(path: str) -> str:
    """The file on disk that holds ``path``, relative to the root."""
    place = place_of(path)
    return path if place is None else place[0]


def _bytes(root: Path, place: tuple[str, int, int]) -> bytes:
    shard, offset, size = place
    with (root / shard).open("rb") as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) != size:
        raise OSError(f"{shard} {os.strerror(5)}")
    return data
