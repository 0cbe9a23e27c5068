"""What became of everything in ``benchmarks/soak.py``: its figures and its table."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common import slope
from PIL import Image
from soak_world import CLASSES, PERIOD_S, VISIT_S

if TYPE_CHECKING:
    from soak import Soak

PATIENCE_S = 60.0
CLEAR_S = 2.0  # visits so near to a fault of camera or program are not expected to be recorded whole
SETTLE_S = 60.0  # of each process, before its memory counts


@dataclass
class Fault:
    """One fault that was injected; times on the monotonic clock."""

    kind: str
    began: float
    ended: float = 0.0
    recovered: float | None = None
    noticed: float | None = None


@dataclass
class Seen:
    """What readers were shown while it ran: identifier → (first moment, label)."""

    events: dict[str, tuple[float, str]] = field(default_factory=dict)
    memory: list[tuple[int, float, float]] = field(default_factory=list)  # (process, moment, MB)


def read(records: Path) -> dict[str, str]:
    """Identifiers and labels in the database, through a connection that cannot write."""
    try:
        uri = f"{(records / 'events.sqlite').resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=5)) as database:
            return dict(database.execute("SELECT id, label FROM events"))
    except sqlite3.Error:
        return {}


def report(soak: Soak, code: int) -> dict[str, Any]:
    """All figures."""
    kept = read(soak.program.records)
    order = [name for _, name in soak.listener.got] if soak.listener else []
    delivered = Counter(order)
    shown = set(soak.seen.events) | set(delivered)
    visits = numbered(soak, kept)
    firsts = [visits[name] for name in dict.fromkeys(order) if name in visits]
    ways = [*soak.program.lines]
    return {
        "faults": {kind: fault_row([f for f in soak.faults if f.kind == kind]) for kind in soak.kinds()},
        "all": fault_row(soak.faults),
        "events": {
            "committed": len(kept),
            "shown_to_readers": len(shown),
            "lost": len(shown - set(kept)),
            "delivered": len(delivered),
            "never_delivered": len(set(kept) - set(delivered)) if soak.listener else None,
            "delivered_again": sum(delivered.values()) - len(delivered),
            "out_of_order": sum(a > b for a, b in pairwise(firsts)),
        },
        "visits": expected(soak, visits),
        "records": health(soak.program.records),
        "json_lines": json_lines(soak.disk.place / "events.jsonl", set(kept)),
        "starts": len(soak.program.starts),
        "unasked_ends": Counter(str(c) for _, c in soak.program.ends if c not in (0, -signal.SIGKILL)),
        "tracebacks": sum("Traceback" in line.text for line in ways),
        "last_exit_code": code,
        "memory": memory(soak.seen.memory),
    }


def fault_row(faults: list[Fault]) -> dict[str, Any]:
    """Counts and percentiles of one kind, seconds."""
    took = [f.recovered - f.ended for f in faults if f.recovered is not None]
    noticed = [f.noticed - f.began for f in faults if f.noticed is not None]

    def share(values: list[float], q: float) -> float | None:
        return round(float(np.quantile(values, q)), 2) if values else None

    return {
        "n": len(faults),
        "never": sum(f.recovered is None for f in faults),
        "recovery_p50_s": share(took, 0.5),
        "recovery_p99_s": share(took, 0.99),
        "recovery_max_s": share(took, 1),
        "noticed": len(noticed),
        "noticed_max_s": share(noticed, 1),
    }


def numbered(soak: Soak, kept: dict[str, str]) -> dict[str, int]:
    """Which visit each event is: labels repeat, so the nearest one before it was first seen."""
    moments = {name: moment for name, (moment, _) in soak.seen.events.items()}
    for moment, name in reversed(soak.listener.got if soak.listener else []):
        moments[name] = min(moment, moments.get(name, moment))
    found = {}
    for name, label in kept.items():
        if name in moments:
            last = int((moments[name] - soak.camera.began - VISIT_S / 2) // PERIOD_S)
            found[name] = last - (last - int(label.split()[-1])) % CLASSES
    return found


def expected(soak: Soak, visits: dict[str, int]) -> dict[str, Any]:
    """Visits that were shown while camera and program were well, and what became of them."""
    first = soak.program.starts[0][0] + 10
    last = soak.program.ends[-1][0] - 2 * PERIOD_S
    troubled = [
        (f.began - CLEAR_S, (f.recovered or f.ended + PATIENCE_S) + CLEAR_S)
        for f in soak.faults
        if f.kind.startswith(("camera", "kill", "SIGTERM"))  # the others must not cost a visit
    ]
    counted, clean = Counter(visits.values()), []
    for number in range(int((last - soak.camera.began) // PERIOD_S)):
        start = soak.camera.began + number * PERIOD_S
        if start > first and not any(a < start + VISIT_S and start < b for a, b in troubled):
            clean.append(number)
    return {
        "undisturbed": len(clean),
        "recorded_once": sum(counted[n] == 1 for n in clean),
        "missed": sum(counted[n] == 0 for n in clean),
        "twice": sum(counted[n] > 1 for n in clean),
    }


def health(records: Path) -> dict[str, Any]:
    """The database's own opinion, and whether every crop is a picture of an event."""
    with closing(sqlite3.connect(records / "events.sqlite")) as database:
        whole = database.execute("PRAGMA integrity_check").fetchone()[0]
        known = {row[0] for row in database.execute("SELECT id FROM events")}
    crops, broken = list((records / "crops").rglob("*.jpg")), 0
    for path in crops:
        try:
            with Image.open(path) as picture:
                picture.load()
        except OSError:
            broken += 1
    strange = sum(path.stem not in known for path in crops)
    aside = len(list(records.glob("*.damaged-*")))
    return {"integrity": whole, "crops": len(crops), "broken": broken, "of_no_event": strange, "aside": aside}


def json_lines(path: Path, kept: set[str]) -> dict[str, int]:
    """The other way of keeping events: whole lines, and lines that a fault broke off."""
    names, broken = [], 0
    for line in path.read_bytes().split(b"\n"):
        try:
            names += [json.loads(line)["id"]] if line else []
        except (ValueError, KeyError):
            broken += 1
    only = len(kept - set(names))
    return {
        "lines": len(names),
        "broken": broken,
        "again": len(names) - len(set(names)),
        "only_in_records": only,
    }


def memory(samples: list[tuple[int, float, float]]) -> dict[str, Any] | None:
    """Slope of the longest life of one process, after its first half minute."""
    if not samples:
        return None
    process = Counter(pid for pid, _, _ in samples).most_common(1)[0][0]
    life = [(moment, mb) for pid, moment, mb in samples if pid == process]
    life = [(moment, mb) for moment, mb in life if moment > life[0][0] + SETTLE_S]
    if len(life) < 20:
        return None
    times, values = np.array(life).T
    found = slope((times - times[0]) / 3600, values)
    hours = round(float(times[-1] - times[0]) / 3600, 3)
    course = [round(float(mb), 2) for mb in values[:: max(1, len(values) // 20)]]
    return {"hours": hours, "last_mb": float(values[-1]), "mb_per_hour": found, "course_mb": course}


def show(result: dict[str, Any]) -> None:
    """The table."""
    print(f"{'fault':<28}{'n':>4}{'never':>7}{'p50 s':>8}{'p99 s':>8}{'max s':>8}{'noticed within s':>18}")
    for kind, row in {**result["faults"], "all": result["all"]}.items():
        cells = (row["recovery_p50_s"], row["recovery_p99_s"], row["recovery_max_s"])
        shown = "".join(f"{'–' if cell is None else cell:>8}" for cell in cells)
        noticed = "–" if row["noticed_max_s"] is None else row["noticed_max_s"]
        print(f"{kind:<28}{row['n']:>4}{row['never']:>7}{shown}{noticed:>18}")
    for name in (
        "events",
        "visits",
        "records",
        "json_lines",
        "starts",
        "unasked_ends",
        "tracebacks",
        "memory",
    ):
        print(f"{name}: {result[name]}")
