"""A process that writes records until it is killed; says each identifier once it is committed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from imago.edge_runtime.records.options import RecordOptions
from imago.edge_runtime.records.store import Store

from events_support import visit


def write(folder: Path, acks: int, first: int, count: int) -> None:
    """Add ``count`` events from number ``first`` on; each identifier goes to the open file ``acks``."""
    store = Store(folder, RecordOptions(reserve_mb=0), outbox=True)
    for number in range(first, first + count):
        event = visit(number)
        store.add(event)
        os.write(acks, event.id.encode() + b"\n")


def write_named(folder: Path, out: str, first: int) -> None:
    """``write`` for a process of its own, until it is killed."""
    write(folder, os.open(out, os.O_WRONLY), first, 10_000)


if __name__ == "__main__":
    handle = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    write(Path(sys.argv[1]), handle, 0, int(sys.argv[3]))
