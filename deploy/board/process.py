"""Is that process still the one it was? Numbers are used again; start times and boots are not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def me() -> dict[str, Any]:
    """This process, to be recognised later."""
    return facts(os.getpid())


def facts(pid: int) -> dict[str, Any]:
    """A process, to be recognised later."""
    return {"pid": pid, "ticks": _ticks(pid), "boot": _boot()}


def alive(known: Mapping[str, Any]) -> bool:
    """Whether the process in ``known`` (of ``facts``) still runs."""
    pid = known.get("pid")
    if not isinstance(pid, int) or pid <= 0 or known.get("boot") != _boot():
        return False
    ticks = _ticks(pid)
    return ticks is not None and ticks == known.get("ticks")


def _ticks(pid: int) -> int | None:
    """Start time in clock ticks since boot (proc(5), stat, field 22); None: gone, or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    words = text.rpartition(")")[2].split()
    return None if len(words) < 20 or words[0] in "ZX" else int(words[19])


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
