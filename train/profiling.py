"""Where the time of a training goes: named spans, a table for people, a trace that browsers open.

A span counts its own time only, not that of spans inside it. On an accelerator, which works on while the
program goes ahead, every span waits for it at both ends: the shares are right, the whole is slower.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from imago.edge_runtime.files import write_json, write_text
from imago.edge_runtime.messages import tr

# Phase → its name for people, in the order of the table; what is not here comes behind them.
PHASES = {
    "read data": "finding and hashing the pictures",
    "build": "building the network",
    "decode": "decoding pictures",
    "read": "reading from the cache",
    "augment": "changing and converting pictures (augment)",
    "transfer": "transfer to the device",
    "wait for data": "waiting for pictures",
    "forward": "forward pass and loss",
    "graph": "forward and backward as one graph",
    "backward": "backward pass",
    "step": "optimiser step",
    "average": "weight average",
    "agree": "agreement between processes",
    "validate": "validation after each epoch",
    "save": "saving the state",
    "evaluate": "final evaluation and report",
    "other": "everything else (starting up, Python)",
}
TRACE_EVENTS = 200_000  # about 20 MB of JSON; counting goes on
PROFILE, TRACE = "profile.json", "trace.json"
_NOTHING: AbstractContextManager[None] = contextlib.nullcontext()


class Clock:
    """Measures nothing; the default everywhere."""

    def span(self, name: str) -> AbstractContextManager[None]:
        """The time within belongs to ``name``."""
        return _NOTHING


NO_CLOCK = Clock()


@dataclass(slots=True)
class _Total:
    seconds: float = 0.0
    count: int = 0


class Stopwatch(Clock):
    """Adds up spans per thread, and keeps the first ``TRACE_EVENTS`` of them for the trace."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.device = torch.device("cpu")
        self._home = threading.get_ident()
        self._local = threading.local()
        self._lock = threading.Lock()
        self._totals: dict[tuple[bool, str], _Total] = {}
        self._events: list[tuple[str, int, float, float]] = []

    @contextlib.contextmanager
    def _measured(self, name: str) -> Iterator[None]:
        inner: list[float] = self._local.__dict__.setdefault("inner", [])
        self._wait()
        began = time.perf_counter()
        inner.append(0.0)
        try:
            yield
        finally:
            self._wait()
            whole = time.perf_counter() - began
            own = whole - inner.pop()
            if inner:
                inner[-1] += whole
            self._add(name, began, whole, own)

    def span(self, name: str) -> AbstractContextManager[None]:
        """The time within belongs to ``name``."""
        return self._measured(name)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def _add(self, name: str, began: float, whole: float, own: float) -> None:
        thread = threading.get_ident()
        with self._lock:
            total = self._totals.setdefault((thread == self._home, name), _Total())
            total.seconds += own
            total.count += 1
            if len(self._events) < TRACE_EVENTS:
                self._events.append((name, thread, began - self.began, whole))

    def report(self) -> dict[str, Any]:
        """JSON form: whole seconds, and per phase seconds, share and count; "other" is what no span covers.

        Phases of helping threads run beside the others: their shares say how busy such a thread was.
        """
        whole = time.perf_counter() - self.began
        with self._lock:
            totals = {key: (total.seconds, total.count) for key, total in self._totals.items()}
        order = {name: number for number, name in enumerate(PHASES)}
        keys = sorted(totals, key=lambda key: (not key[0], order.get(key[1], len(order))))
        phases = [
            {
                "phase": name,
                "beside": not home,
                "seconds": totals[home, name][0],
                "share": totals[home, name][0] / whole,
                "count": totals[home, name][1],
            }
            for home, name in keys
        ]
        rest = whole - sum(seconds for (home, _), (seconds, _) in totals.items() if home)
        phases.append({"phase": "other", "beside": False, "seconds": rest, "share": rest / whole, "count": 1})
        return {"seconds": whole, "device": str(self.device), "phases": phases}

    def save(self, folder: Path) -> None:
        """Write ``profile.json`` and ``trace.json`` (for chrome://tracing or ui.perfetto.dev)."""
        with self._lock:
            events = list(self._events)
        rows = [
            {
                "name": name,
                "ph": "X",
                "pid": os.getpid(),
                "tid": thread,
                "ts": round(began * 1e6, 1),
                "dur": round(seconds * 1e6, 1),
            }
            for name, thread, began, seconds in events
        ]
        write_json(folder / PROFILE, self.report())
        write_text(folder / TRACE, json.dumps({"traceEvents": rows, "displayTimeUnit": "ms"}))


def table(report: dict[str, Any]) -> list[str]:
    """The report as lines for people."""
    names = {phase: tr(name) for phase, name in PHASES.items()}
    lines = [
        tr(
            "where {seconds} s went, on {device}:",
            seconds=f"{report['seconds']:.1f}",
            device=report["device"],
        )
    ]
    for row in report["phases"]:
        each = 1000 * row["seconds"] / row["count"]
        name = names.get(row["phase"], row["phase"])
        if row["beside"]:
            name = tr("{phase}, beside the others", phase=name)
        lines.append(
            f"  {row['seconds']:9.2f} s {row['share']:7.1%}  {row['count']:8} × {each:9.3f} ms  {name}"
        )
    if report["device"] != "cpu":
        lines.append(tr("measuring made the accelerator wait; without --profile the run is faster"))
    return lines
