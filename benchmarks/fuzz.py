"""Bytes that nobody wrote, at everything that reads what strangers made (fuzz_targets.py).

    python benchmarks/fuzz.py [--seconds 60] [--target picture] [--seed 0]

Guided by coverage where atheris (libFuzzer for Python) is installed, else by chance. Each target runs in a
process of its own; one that dies or hangs is a finding, and another one goes on. Findings, with an input
that shows each of them, go to benchmarks/out/fuzz-….
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import resource
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from common import OUT, ROOT, save

SLOW_S = 2.0
GRACE_S = 60.0  # a process that takes longer than it was told to is hung
LONGEST = 4096
HEAP_MB = 4096
WORDS = (
    b"\xff",
    b"\0",
    b"\x7f\xff\xff\xff",
    b"\r\n",
    b"PK\x05\x06",
    b"-1",
    b"1e999",
    b"NaN",
    b"%00",
    b"[" * 99,
)


def mutated(chance: random.Random, seeds: list[bytes]) -> bytes:
    """A seed with some bytes changed, cut out, put in, or joined to another seed's."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        place = chance.randrange(len(data) + 1)
        kind = chance.randrange(5)
        if kind == 0 and data:
            data[place % len(data)] = chance.randrange(256)
        elif kind == 1:
            data[place:place] = chance.choice(WORDS)
        elif kind == 2:
            del data[place : place + chance.choice((1, 4, 64, LONGEST))]
        elif kind == 3:
            data[place:] = chance.choice(seeds)[place:]
        elif data:
            data[place % len(data)] ^= 1 << chance.randrange(8)
    return bytes(data)


class Worker:
    """One target in this process; writes its state to ``out`` as it goes."""

    def __init__(self, name: str, seconds: float, seed: int, out: Path) -> None:
        self.out, self.seconds, self.seed = out, seconds, seed
        self.state: dict[str, Any] = {"executions": 0, "slowest_s": 0.0, "findings": {}, "guided": False}
        self._saved = 0.0
        self._name = name
        self._last: mmap.mmap | None = None

    def go(self) -> None:
        """Until time is up."""
        try:
            import atheris
        except ImportError:
            atheris = None
        resource.setrlimit(resource.RLIMIT_AS, (HEAP_MB * 2**20, resource.RLIM_INFINITY))
        if atheris is not None:
            self.state["guided"] = True
            with atheris.instrument_imports(include=["imago", "zipfile", "http", "email"]):
                self._open()
            corpus = self.out.with_suffix(".corpus")
            corpus.mkdir(exist_ok=True)
            for number, seed in enumerate(self.target.seeds):
                (corpus / f"seed-{number}").write_bytes(seed)
            limits = [f"-max_total_time={int(self.seconds)}", f"-seed={self.seed + 1}", "-timeout=20"]
            limits += [
                f"-max_len={2 * max(map(len, self.target.seeds)) + 256}",
                "-rss_limit_mb=0",
                "-verbosity=0",
            ]
            atheris.Setup([sys.argv[0], str(corpus), *limits], self.one)
            atheris.Fuzz()
            return
        self._open()
        chance, end = random.Random(self.seed), time.monotonic() + self.seconds
        while time.monotonic() < end:
            self.one(mutated(chance, self.target.seeds))
        self._save()

    def _open(self) -> None:
        from fuzz_targets import TARGETS

        self.target = TARGETS[self._name]()

    def one(self, data: bytes) -> None:
        """One execution."""
        from imago.edge_runtime.errors import ImagoError

        self._remember(data)
        began = time.perf_counter()
        try:
            self.target.run(data)
        except ImagoError:
            pass
        except Exception as error:  # noqa: BLE001  that is what is looked for
            self._found(error, data)
        took = time.perf_counter() - began
        if took > SLOW_S:
            self._found(TimeoutError(f"{took:.0f} s"), data)
        self.state["slowest_s"] = max(self.state["slowest_s"], round(took, 3))
        self.state["executions"] += 1
        if time.monotonic() - self._saved > 0.5:
            self._save()

    def _remember(self, data: bytes) -> None:
        """For whoever asks after a death: memory that the file shares (a write for each would cost more)."""
        if self._last is None:
            path = self.out.with_suffix(".last")
            path.write_bytes(bytes(LONGEST + 4))
            with path.open("r+b") as file:
                self._last = mmap.mmap(file.fileno(), LONGEST + 4)
        kept = data[:LONGEST]
        self._last[: 4 + len(kept)] = len(kept).to_bytes(4, "little") + kept

    def _found(self, error: Exception, data: bytes) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        place = next(
            (f for f in reversed(frames) if "/edge_runtime/" in f.filename), frames[-1] if frames else None
        )
        where = f"{Path(place.filename).name}:{place.lineno}" if place else ""
        known = self.state["findings"].setdefault(
            f"{type(error).__name__} in {where}",
            {"n": 0, "text": str(error)[:200], "input": data[:LONGEST].hex()},
        )
        known["n"] += 1

    def _save(self) -> None:
        self._saved = time.monotonic()
        self.state["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        self.out.write_text(json.dumps(self.state), encoding="utf-8")


def fuzz(name: str, seconds: float, seed: int) -> dict[str, Any]:
    """One target for so long, in as many processes as it takes down."""
    total: dict[str, Any] = {
        "executions": 0,
        "seconds": seconds,
        "slowest_s": 0.0,
        "deaths": 0,
        "findings": {},
    }
    out = OUT / f"fuzz-{name.replace(' ', '-')}.json"
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 1 and total["deaths"] < 20:
        out.unlink(missing_ok=True)
        command = [sys.executable, __file__, "--work", name, str(left), str(seed), str(out)]
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=left + GRACE_S)
            code, said = done.returncode, done.stderr.decode("utf-8", "replace")[-2000:]
        except subprocess.TimeoutExpired:
            code, said = -1, "hung"
        state = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
        total["executions"] += state.get("executions", 0)
        total["guided"] = state.get("guided")
        total["slowest_s"] = max(total["slowest_s"], state.get("slowest_s", 0))
        total["peak_rss_mb"] = max(total.get("peak_rss_mb", 0), state.get("peak_rss_mb", 0))
        for what, finding in state.get("findings", {}).items():
            total["findings"].setdefault(what, finding)
        if code:
            total["deaths"] += 1
            last = out.with_suffix(".last")
            raw = last.read_bytes() if last.exists() else bytes(4)
            data = raw[4 : 4 + int.from_bytes(raw[:4], "little")]
            total["findings"][f"process ended with {code}"] = {"n": 1, "text": said, "input": data.hex()}
        seed += 1
    return total


def main() -> None:
    if sys.argv[1:2] == ["--work"]:
        name, seconds, seed, out = sys.argv[2:]
        Worker(name, float(seconds), int(seed), Path(out)).go()
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--target", action="append")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    from fuzz_targets import TARGETS

    OUT.mkdir(exist_ok=True)
    os.environ["PYTHONPATH"] = str(ROOT / ".dev") + os.pathsep + os.environ.get("PYTHONPATH", "")
    rows = {}
    for name in args.target or TARGETS:
        row = rows[name] = fuzz(name, args.seconds, args.seed)
        guided = "guided" if row.get("guided") else "by chance"
        print(
            f"{name:<18}{row['executions']:>10} executions ({guided})  slowest {row['slowest_s']:.2f} s  "
            f"peak {row.get('peak_rss_mb', 0)} MB  findings {len(row['findings'])}",
            flush=True,
        )
        for what, finding in row["findings"].items():
            print(f"    {what} ×{finding['n']}: {finding['text'][-300:]}", flush=True)
    save("fuzz", {"seconds": args.seconds, "seed": args.seed, "targets": rows})


if __name__ == "__main__":
    main()
