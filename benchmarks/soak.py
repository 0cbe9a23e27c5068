"""Faults injected into a running ``imago run``: what is lost, and how long until it works again.

    python benchmarks/soak.py [--minutes 2] [--seed 0]

The program runs as it would on a board: a network camera (MJPEG over HTTP) that shows numbered visits,
records on a small disk of their own, JSON lines, live page, a real Mosquitto. Faults are injected one after
another, in an order drawn anew for every round, each for some seconds; the world, and what is real in it:
soak_world.py. Needs root for the small disk, mosquitto, and a C compiler for the clock; what is not there is
left out, and said.

lost: events that a reader of the database, or an MQTT subscriber, was shown and that are not in the database
at the end (nothing may be), or that are in it and were never delivered. Events delivered twice are counted,
and allowed (at least once); out of order is not. missed, twice: of the visits shown while camera and
program were well.
recovery: from the end of a fault (of a kill: from the kill) until the program works again, which is for the
camera a picture looked at, for the disk an event committed, for the broker an empty outbox, for a kill a
picture looked at, for the clock an event with the new time. noticed: from the beginning of a camera's fault
until the program says so.
"""

from __future__ import annotations

import argparse
import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import save
from soak_report import PATIENCE_S, Fault, Seen, read, report, show
from soak_world import (
    PERIOD_S,
    Broker,
    Camera,
    Disk,
    Listener,
    Program,
    make_model,
)

ENDING = ("kill", "SIGTERM")
STEPS = (3600, -3600, 86400, -86400, 45, -45)  # seconds the wall clock is set by


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
        if self.program.shim is not None:
            found["clock set"] = self.clock_set
        return found

    def round(self, only: str, end: float, calm: float) -> None:
        """Every fault once, those that end the program twice, but none of these after ``calm``."""
        kinds = [kind for kind in self.kinds() if only in kind]
        kinds += [kind for kind in kinds if kind.startswith(ENDING)]
        self.chance.shuffle(kinds)
        for kind in kinds:
            if time.monotonic() < (calm if kind.startswith(ENDING) else end):
                self.inject(kind, self.kinds()[kind])
                time.sleep(self.chance.uniform(0.5, 2) * PERIOD_S)

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
            left_out = {"small disk": not soak.disk.own, "clock": soak.program.shim is None}
            print("left out:", [name for name, out in left_out.items() if out] or "nothing", flush=True)
            soak._frames_again(time.monotonic())
            end = time.monotonic() + 60 * args.minutes
            calm = time.monotonic() + 60 * args.minutes / 2
            while time.monotonic() < end:
                soak.round(args.only or "", end, calm)
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
