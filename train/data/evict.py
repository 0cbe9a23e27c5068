"""Keeping the picture cache within its quota: what was not used for longest goes first."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from pathlib import Path

ABANDONED_S = 24 * 3600  # a builder that was killed leaves its temporary folder


def evict(base: Path, quota: int, *, keep: str = "") -> None:
    """Remove entries of ``base`` until the rest takes at most ``quota`` bytes, and abandoned builds.

    keep: name of an entry that stays. Problems are passed over: a cache that cannot shrink is no reason
    not to train, and on Windows an entry in use cannot be removed.
    """
    found: list[tuple[float, int, Path]] = []
    with contextlib.suppress(OSError), os.scandir(base) as listing:
        for item in listing:
            with contextlib.suppress(OSError):
                if item.is_dir(follow_symlinks=False):
                    found.append((item.stat().st_mtime, _size(Path(item.path)), Path(item.path)))
    total = sum(size for _, size, _ in found)
    for used, size, path in sorted(found):
        building = path.name.startswith(".build-")
        if building and time.time() - used > ABANDONED_S:
            shutil.rmtree(path, ignore_errors=True)
            total -= size
        elif not building and path.name != keep and total > quota:
            _remove(path)
            total -= size


def _remove(path: Path) -> None:
    """Rename first: an entry half removed must not be found under its name."""
    aside = path.with_name(f".build-{os.getpid()}-{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):
        path.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())
