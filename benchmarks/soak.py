"""Faults injected into a running ``imago run``: what is lost, and how long until it works again.

    python benchmarks/soak.py [--minutes 2] [--seed 0]

The program runs as it would on a board: a network camera (MJPEG over HTTP) that shows numbered visits,
records on a small disk of their own, JSON lines, live page, a real Mosquitto. Faults are injected one after
another, in an order drawn anew for every round, each for some seconds; the world, and what is real in it:
soak_world.py. Needs root for the small disk, mosquitto, and libfaketime for the clock; what is not there is
left out, and said.

lost: events that a reader of the database, or an MQTT subscriber, was shown and that are not in the database
at the end (nothing may be), or that are in it and were never delivered. Events delivered twice are counted,
and allowed (at least once); out of order is not. missed, twice: of the visits shown while nothing was wrong.
recovery: from the end of a fault (of a kill: from the kill) until the program works again, which is for the
camera a picture looked at, for the disk an event committed, for the broker an empty outbox, for a kill a
picture looked at, for the clock an event with the new time. noticed: from the beginning of a camera's fault
until the program says so.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from common import save, slope
from PIL import Image
from soak_world import (
    CLASSES,
    FAKETIME,
    PERIOD_S,
    VISIT_S,
    Broker,
    Camera,
    Disk,
    Listener,
    Program,
    make_model,
)

PATIENCE_S = 60.0
CLEAR_S = 2.5  # visits so near to a fault are not expected to be recorded whole
SETTLE_S = 30.0  # of each process, before its memory counts
STEPS = (3600, -3600, 86400, -86400, 45, -45)  # seconds the wall clock is set by


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


class Soak:
    """The world, the faults, and somebody who looks at the records all the time."""

    def __init__(self, work: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.camera, self.disk = Camera(), Disk(work / "disk")
        self.broker = Broker(work)
        has_broker = self.broker.program is not None
        if has_broker:
            self.broker.start()
        self.listener = Listener(self.broker.port) if has_broker else None
        make_model(work / "soak.onnx")
        port = self.broker.port if has_broker else None
        self.program = Program(work / "soak.onnx", self.camera, self.disk.place, port, work)
        self.seen, self.faults, self._looking = Seen(), [], True
        threading.Thread(target=self._look, daemon=True).start()

    def kinds(self) -> dict[str, Callable[[Fault], None]]:
        """All faults that can be had here. Those of the program come first, so that its last life is long."""
        found: dict[str, Callable[[Fault], None]] = {
            "kill -9": self.kill,
            "SIGTERM": self.restart,
            "camera: stall": lambda f: self.camera_mode(f, "stall"),
            "camera: unplugged": self.unplugged,
            "camera: garbage": lambda f: self.camera_mode(f, "garbage"),
            "camera: other size": lambda f: self.camera_mode(f, "other size"),
            "camera: connection broken": self.connection_broken,
        }
        if self.disk.own:
            found |= {"disk full": self.disk_full, "kill -9 on a full disk": self.kill_on_a_full_disk}
        if self.listener is not None:
            found |= {
                "broker stopped": lambda f: self.broker_away(f, signal.SIGTERM),
                "broker kill -9": lambda f: self.broker_away(f, signal.SIGKILL),
                "broker frozen": self.broker_frozen,
                "kill -9, broker away": self.kill_without_broker,
            }
        if FAKETIME.exists():
            found["clock set"] = self.clock_set
        return found

    def inject(self, kind: str, work: Callable[[Fault], None]) -> None:
        """One fault from its beginning until the program works again."""
        fault = Fault(kind, time.monotonic())
        work(fault)
        self.faults.append(fault)
        took = "never" if fault.recovered is None else f"{fault.recovered - fault.ended:.2f} s"
        print(f"  {len(self.faults):>4} {kind:<28} works again after {took}", flush=True)

    # Faults
    def camera_mode(self, fault: Fault, mode: str) -> None:
        self.camera.mode = mode
        time.sleep(self.chance.uniform(2.5, 4))
        self._camera_back(fault, lambda: setattr(self.camera, "mode", "ok"))

    def unplugged(self, fault: Fault) -> None:
        self.camera.unplug()
        time.sleep(self.chance.uniform(2.5, 4))
        self._camera_back(fault, self.camera.plug)

    def connection_broken(self, fault: Fault) -> None:
        self._camera_back(fault, self.camera.reset)

    def _camera_back(self, fault: Fault, mend: Callable[[], None]) -> None:
        mend()
        fault.ended = time.monotonic()
        fault.recovered = self._frames_again(fault.ended)
        fault.noticed = self.program.said("trying again", fault.began)

    def disk_full(self, fault: Fault) -> None:
        self.disk.fill()
        time.sleep(self.chance.uniform(3, 6))
        self.disk.free()
        fault.ended = time.monotonic()
        kept = (self._part("records") or {}).get("kept", 0)
        fault.recovered = self._until(lambda: (self._part("records") or {}).get("kept", 0) > kept)

    def kill(self, fault: Fault) -> None:
        time.sleep(self.chance.uniform(0, PERIOD_S))
        fault.began = fault.ended = time.monotonic()
        self.program.process.kill()
        fault.recovered = self._frames_again(fault.ended)

    def restart(self, fault: Fault) -> None:
        time.sleep(self.chance.uniform(0, PERIOD_S))
        fault.began = time.monotonic()
        self.program.process.terminate()
        self.program.process.wait(60)
        fault.ended = time.monotonic()
        fault.recovered = self._frames_again(fault.ended)

    def kill_on_a_full_disk(self, fault: Fault) -> None:
        self.disk.fill()
        time.sleep(self.chance.uniform(1, 3))
        self.program.process.kill()
        time.sleep(self.chance.uniform(1, 3))
        self.disk.free()
        fault.ended = time.monotonic()
        fault.recovered = self._frames_again(fault.ended)

    def broker_away(self, fault: Fault, number: int) -> None:
        self.broker.send(number)
        time.sleep(self.chance.uniform(3, 6))
        self.broker.start()
        fault.ended = time.monotonic()
        fault.recovered = self._delivered()

    def broker_frozen(self, fault: Fault) -> None:
        self.broker.send(signal.SIGSTOP)
        time.sleep(self.chance.uniform(3, 6))
        self.broker.send(signal.SIGCONT)
        fault.ended = time.monotonic()
        fault.recovered = self._delivered()

    def kill_without_broker(self, fault: Fault) -> None:
        self.broker.send(signal.SIGKILL)
        time.sleep(self.chance.uniform(2, 4))
        self.program.process.kill()
        time.sleep(self.chance.uniform(1, 2))
        self.broker.start()
        fault.ended = time.monotonic()
        fault.recovered = self._delivered()

    def clock_set(self, fault: Fault) -> None:
        self.program.set_clock(self.program.offset_s + self.chance.choice(STEPS))
        fault.ended = time.monotonic()
        known = set(self.seen.events)

        def told() -> bool:
            new = [int(name[:12], 16) / 1000 for name in set(self.seen.events) - known]
            return any(abs(start - time.time() - self.program.offset_s) < 10 for start in new)

        fault.recovered = self._until(told)

    # Watching
    def _part(self, name: str) -> dict[str, Any] | None:
        status = self.program.status()
        return None if status is None else status.get(name)

    def _frames_again(self, since: float) -> float | None:
        """When a picture that was taken after ``since`` was looked at."""

        def again() -> bool:
            asked = time.monotonic()
            status = self.program.status()
            return bool(status and status["frames"] and asked - status["last_frame_s"] > since + 0.05)

        return self._until(again)

    def _delivered(self) -> float | None:
        def done() -> bool:
            mqtt = self._part("mqtt")
            return bool(mqtt and mqtt["connected"] and mqtt["waiting"] == 0)

        return self._until(done)

    @staticmethod
    def _until(condition: Callable[[], bool]) -> float | None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if condition():
                return time.monotonic()
            time.sleep(0.05)
        return None

    def _look(self) -> None:
        """As ``imago events`` would, and at the memory."""
        beat = 0
        while self._looking:
            for name, label in read(self.program.records).items():
                self.seen.events.setdefault(name, (time.monotonic(), label))
            rss = self.program.rss_mb()
            if beat % 4 == 0 and rss is not None:
                self.seen.memory.append((self.program.process.pid, time.monotonic(), rss))
            beat += 1
            time.sleep(0.25)

    def close(self) -> int:
        """Let it deliver what waits, and end it in order; returns its exit code."""
        time.sleep(2 * PERIOD_S)
        if self.listener is not None:
            self._delivered()
        code = self.program.end()
        time.sleep(1)
        self._looking = False
        return code


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
    """Visits that were shown while nothing was wrong, and what became of them."""
    first = soak.program.starts[0][0] + 10
    last = soak.program.ends[-1][0] - 2 * PERIOD_S
    troubled = [(f.began - CLEAR_S, (f.recovered or f.ended + PATIENCE_S) + CLEAR_S) for f in soak.faults]
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
    return {"hours": round((times[-1] - times[0]) / 3600, 3), "last_mb": values[-1], "mb_per_hour": found}


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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="faults whose name holds this, to look into one")
    parser.add_argument("--log", type=Path, help="what the program said")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        soak = Soak(Path(folder), args.seed)
        try:
            left_out = {"small disk": not soak.disk.own, "clock": not FAKETIME.exists()}
            print("left out:", [name for name, out in left_out.items() if out] or "nothing", flush=True)
            soak._frames_again(time.monotonic())
            end = time.monotonic() + 60 * args.minutes
            calm = time.monotonic() + 60 * args.minutes / 2
            while time.monotonic() < end:
                kinds = [k for k in soak.kinds() if args.only is None or args.only in k]
                soak.chance.shuffle(kinds)
                for kind in kinds:
                    ends_it = "kill" in kind.split(":")[0].replace("broker kill", "") or kind == "SIGTERM"
                    if time.monotonic() < end and not (ends_it and time.monotonic() > calm):
                        soak.inject(kind, soak.kinds()[kind])
                        time.sleep(soak.chance.uniform(1, 2 * PERIOD_S))
            result = report(soak, soak.close())
        finally:
            soak.program._wanted = False
            soak.program.process.kill()
            if soak.broker.process is not None:
                soak.broker.process.kill()
            if args.log:
                args.log.write_text("\n".join(f"{x.moment:.2f} {x.text}" for x in soak.program.lines) + "\n")
            soak.disk.close()
    show(result)
    save("soak", {"minutes": args.minutes, "seed": args.seed, **result})


if __name__ == "__main__":
    main()
