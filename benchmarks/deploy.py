"""Pushing to a board: time and bytes of an update, and what cuts at random moments leave behind.

    python benchmarks/deploy.py [--updates 5] [--cuts 60] [--seed 0] [--wheels FOLDER]

The board is a folder behind this machine's own sshd (real ssh, real wheels, no systemd); the line goes
through a proxy that counts bytes and can be cut. *Line*: the connection ends at once. *Power*: every process
of the board dies at once by SIGKILL, then the board boots (``repair``). A board counts as lost where no
release works afterwards: frames must come through, and the release must be a whole one. What SIGKILL does
not show: bytes that never reached the disk (writes are fsynced before they are named; see the code).
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from common import ROOT, save

sys.path.insert(0, str(ROOT / "tests"))

import push_support
from imago.edge_runtime.errors import ImagoError
from push_support import Board, Wire, bundle


class Desk:
    """A board, the line to it, and what is pushed."""

    def __init__(self, board: Board, kit: Path, folder: Path) -> None:
        self.board, self.kit, self.folder = board, kit, folder
        board.start()
        self.wire = Wire(board.port)
        board.write_config(Port=str(self.wire.port))

    def timed(self, path: Path) -> dict[str, Any]:
        """``imago deploy`` as a user calls it, from its start to its end."""
        self.wire.up = self.wire.down = 0
        began = time.perf_counter()
        done = self.board.deploy(str(path), "--offline", str(self.kit), "--timeout", "600", timeout=1800)
        seconds = time.perf_counter() - began
        if done.returncode:
            raise RuntimeError(done.stderr)
        return {"seconds": seconds, "up": self.wire.up, "down": self.wire.down}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--updates", type=int, default=5, help="timed updates of the model only (5)")
    parser.add_argument("--cuts", type=int, default=60, help="cuts at random moments (60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--wheels", type=Path, help="a folder of wheels (else they are fetched)")
    parser.add_argument("--models", type=Path, nargs=2, help="two large models of one task, for the bytes")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kit = args.wheels or push_support.download_wheels(folder / "kit", _wheel(folder))
        desk = Desk(Board(folder / "board"), kit, folder)
        try:
            data: dict[str, Any] = {"seed": args.seed, "first": first_install(desk)}
            if args.updates:
                data["updates"] = updates(desk, args.updates, args.models)
            data["cuts"] = cuts(desk, args.cuts, random.Random(args.seed))
        finally:
            desk.wire.close()
            desk.board.close()
    save("deploy", data)
    return int(data["cuts"]["lost"] > 0)


def first_install(desk: Desk) -> dict[str, Any]:
    """An empty board: environment, release, first frames."""
    bundle(desk.folder / "a.imago", desk.board.web)
    row = desk.timed(desk.folder / "a.imago")
    print(f"first install: {row['seconds']:.1f} s, {row['up'] / 1e6:.2f} MB to the board")
    return row


def updates(desk: Desk, count: int, large: list[Path] | None) -> dict[str, Any]:
    """Another model each time; everything else is on the board already."""
    rows = []
    for number in range(count):
        path = desk.folder / f"u{number}.imago"
        bundle(path, desk.board.web, seed=100 + number, models=[large[number % 2]] if large else ())
        row = desk.timed(path)
        row["bundle"] = path.stat().st_size
        rows.append(row)
    unchanged = desk.timed(path)
    seconds = [row["seconds"] for row in rows]
    result = {
        "n": count,
        "seconds_p50": statistics.median(seconds),
        "seconds_all": seconds,
        "up_p50": statistics.median(row["up"] for row in rows),
        "down_p50": statistics.median(row["down"] for row in rows),
        "bundle_bytes": rows[-1]["bundle"],
        "kit_bytes": sum(file.stat().st_size for file in desk.kit.glob("*.whl")),
        "unchanged": unchanged,
    }
    print(
        f"model only, n={count}: p50 {result['seconds_p50']:.2f} s, {result['up_p50'] / 1e3:.0f} kB up, "
        f"{result['down_p50'] / 1e3:.0f} kB down (bundle {result['bundle_bytes'] / 1e3:.0f} kB, "
        f"kit {result['kit_bytes'] / 1e6:.1f} MB)"
    )
    print(f"the same again: {unchanged['seconds']:.2f} s, {unchanged['up'] / 1e3:.0f} kB up")
    return result


def cuts(desk: Desk, count: int, rng: random.Random) -> dict[str, Any]:
    """Each time another release is pushed, and cut somewhere between its first and its last second."""
    span = _span(desk)
    rows: list[dict[str, Any]] = []
    while sum(row["cut"] for row in rows) < count:
        number = len(rows)
        kind = ("power", "line")[number % 2]
        path = desk.folder / f"c{number % 8}.imago"
        bundle(path, desk.board.web, seed=200 + number % 8)
        rows.append(_cut_once(desk, path, kind, rng.uniform(0.0, 1.05 * span)))
        row = rows[-1]
        print(f"  {number + 1}: {kind} at {row['at_s']:.2f} s ({row['step']}): {row['after']}", flush=True)
    hit = [row for row in rows if row["cut"]]
    steps = {step: sum(row["step"] == step for row in hit) for step in sorted({r["step"] for r in hit})}
    result = {
        "n": len(hit),
        "power": sum(row["kind"] == "power" for row in hit),
        "line": sum(row["kind"] == "line" for row in hit),
        "lost": sum(row["after"] == "lost" for row in hit),
        "old": sum(row["after"] == "old" for row in hit),
        "new": sum(row["after"] == "new" for row in hit),
        "steps": steps,
        "rows": rows,
    }
    print(
        f"cuts: {result['n']} ({result['power']} power, {result['line']} line), {result['lost']} boards "
        f"lost, {result['old']} on the old release, {result['new']} on the new"
    )
    return result


def _cut_once(desk: Desk, path: Path, kind: str, at_s: float) -> dict[str, Any]:
    board = desk.board
    before = board.agent("status")[1]["current"]["release"]
    steps, done = ["connecting"], threading.Event()

    def cut() -> None:
        if done.is_set():
            return
        steps.append(steps[-1])
        (board.power_off if kind == "power" else desk.wire.cut)()
        fired.set()

    fired = threading.Event()
    timer = threading.Timer(at_s, cut)
    timer.start()
    with contextlib.suppress(ImagoError):
        board.push(path, desk.kit, lambda text: None if fired.is_set() else steps.append(text.split()[0]))
    done.set()
    timer.cancel()
    timer.join()
    row = {"kind": kind, "at_s": at_s, "step": steps[-1], "cut": fired.is_set()}
    return {**row, "after": _after(board, kind, before)}


def _after(board: Board, kind: str, before: str) -> str:
    try:
        status = board.power_on() if kind == "power" else board.settled()
    except AssertionError as error:
        print(f"LOST: {error}", file=sys.stderr)
        return "lost"
    return "old" if status["current"]["release"] == before else "new"


def _span(desk: Desk) -> float:
    bundle(desk.folder / "span.imago", desk.board.web, seed=99)
    began = time.perf_counter()
    desk.board.push(desk.folder / "span.imago", desk.kit)
    return time.perf_counter() - began


def _wheel(folder: Path) -> Path:
    words = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(folder / "dist"),
        str(ROOT),
    ]
    subprocess.run(words, capture_output=True, check=True)
    return next((folder / "dist").glob("*.whl"))


if __name__ == "__main__":
    if shutil.which("ssh") is None:
        sys.exit("openssh-client and openssh-server are needed")
    sys.exit(main())
