"""Things that take long to build, built once: a folder each, named after what went into it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def cache_folder() -> Path:
    """``IMAGO_BOARD_CACHE``, or a folder in the user's cache."""
    chosen = os.environ.get("IMAGO_BOARD_CACHE")
    base = (
        Path(chosen)
        if chosen
        else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "imago-board"
    )
    base.mkdir(parents=True, exist_ok=True)
    return base


def cached(name: str, inputs: Any, build: Callable[[Path], None]) -> Path:
    """The folder that ``build`` filled for these ``inputs`` (plain JSON values); built now if need be.

    Two processes do not build the same thing; a build that was killed is begun anew; older ones of the same
    name are removed.
    """
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:12]
    base = cache_folder()
    target = base / f"{name}-{key}"
    with _locked(base / f".{name}.lock"):
        if target.exists():
            return target
        for old in base.glob(f"{name}-*"):
            shutil.rmtree(old, ignore_errors=True)
        print(f"building {target.name} (once)", file=sys.stderr, flush=True)
        work = base / f".{name}.building"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        build(work)
        work.rename(target)
    return target


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
