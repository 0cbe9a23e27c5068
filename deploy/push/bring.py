"""Bringing a board's records home: into a folder that ``imago events`` reads, only what is new to it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from imago.deploy.push.remote import Remote
from imago.deploy.push.ssh import LineBroken
from imago.edge_runtime.errors import DeployError
from imago.edge_runtime.files import replacing
from imago.edge_runtime.records.schema import FILE

CROP = re.compile(r"crops/\d{4}-\d\d-\d\d/[0-9a-f]{20}\.jpg")
BATCH = 200
PIECE = 1 << 16
MAX_FILE = 4_000_000_000


@dataclass(frozen=True, slots=True)
class Brought:
    """crops: how many the board has; new: how many of them came now. bytes: sent."""

    crops: int
    new: int
    bytes: int


def bring_events(
    remote: Remote, folder: Path, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> Brought:
    """Copy database and crops into ``folder``. What the board's quota has taken away stays here.

    Pictures never change, so those that are here already are not sent again, also after a cut. Raises
    DeployError where the board keeps no records, or the connection breaks.
    """
    listed = remote.command("events").result["files"]
    files = [(str(name), int(size)) for name, size in listed if name == FILE or CROP.fullmatch(str(name))]
    crops = [(name, size) for name, size in files if name != FILE]
    new = [name for name, size in crops if not _have(folder / name, size)]
    sizes = dict(files)
    total = sum(sizes[name] for name in [*new, FILE])
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        progress(done, total)

    # The database last: it never names a picture that could still be missing.
    for start in range(0, len(new), BATCH):
        _fetch(remote, folder, new[start : start + BATCH], count)
    _fetch(remote, folder, [FILE], count)
    return Brought(len(crops), len(new), done)


def _fetch(remote: Remote, folder: Path, names: Sequence[str], count: Callable[[int], None]) -> None:
    arrived = 0

    def raw(head: Mapping[str, Any], stream: IO[bytes]) -> None:
        nonlocal arrived
        for name, size in zip(names, head["sizes"], strict=True):
            if 0 <= int(size) <= MAX_FILE:
                _take(stream, folder / name, int(size), count)
            arrived += 1

    remote.command("fetch", payload=[json.dumps(list(names)).encode()], raw=raw)
    if arrived != len(names):
        raise DeployError("the board sent less than it announced; try again")


def _take(stream: IO[bytes], target: Path, size: int, count: Callable[[int], None]) -> None:
    """One file, whole or not at all."""
    with replacing(target) as temporary, temporary.open("wb") as out:
        left = size
        while left:
            piece = stream.read(min(PIECE, left))
            if not piece:
                raise LineBroken("the connection broke; what arrived is kept: run it again to go on")
            out.write(piece)
            left -= len(piece)
            count(len(piece))


def _have(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
