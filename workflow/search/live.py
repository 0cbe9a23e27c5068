"""``progress.json``: where a search stands, for pages and scripts that look on (docs/search.md)."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import GateError
from imago.edge_runtime.files import write_json
from imago.workflow.search.options import SearchOptions
from imago.workflow.search.outcome import Row, choose, pareto
from imago.workflow.search.rungs import State

PROGRESS = "progress.json"
FORMAT = 1
EVERY_S = 1.0


class Live:
    """Counts the time that the search has had, over all its sittings, and writes the file.

    spent_s: in earlier sittings.
    """

    def __init__(self, folder: Path, options: SearchOptions) -> None:
        self.path, self.options = folder / PROGRESS, options
        self._before = spent_before(folder)
        self._began = time.monotonic()
        self._written = 0.0
        self._final: dict[str, Any] = {}

    def add(self, seconds: float) -> None:
        """Time that passed before this was made."""
        self._before += seconds

    @property
    def spent_s(self) -> float:
        """Seconds so far."""
        return self._before + time.monotonic() - self._began

    @property
    def left_s(self) -> float:
        """Seconds until the budget is used up."""
        return max(0.0, self.options.budget_s - self.spent_s)

    def final_epoch(self, share: float, accuracy: float) -> None:
        """How far the final training is."""
        self._final = {"share": share, "accuracy": accuracy}

    def write(
        self,
        state: str,
        rows: Sequence[Row],
        *,
        workers: int = 0,
        message: str = "",
        result: dict[str, Any] | None = None,
        now: bool = False,
    ) -> None:
        """At most once a second, unless ``now``."""
        if not now and time.monotonic() - self._written < EVERY_S:
            return
        self._written = time.monotonic()
        write_json(
            self.path,
            {
                "format": FORMAT,
                "state": state,
                "message": message,
                "updated": time.time(),
                "budget_s": self.options.budget_s,
                "spent_s": round(self.spent_s, 1),
                "left_s": round(self.left_s, 1),
                "workers": workers,
                "max_latency_us": self.options.max_latency_us or None,
                "counts": _counts(rows),
                "best": result["winner"]["number"] if result else _best(rows, self.options.max_latency_us),
                "front": [r.entry.number for r in pareto(rows)],
                "trials": [r.to_dict() for r in rows],
                "final": self._final or None,
                "result": result,
            },
        )


def spent_before(folder: Path) -> float:
    """Seconds that earlier sittings took; what cannot be read counts as none."""
    try:
        return float(json.loads((folder / PROGRESS).read_text(encoding="utf-8"))["spent_s"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def _counts(rows: Sequence[Row]) -> dict[str, int]:
    states = [r.entry.state for r in rows]
    names: tuple[State, ...] = ("complete", "stopped", "running", "failed")
    return {**{name: states.count(name) for name in names}, "settings": _settings(rows)}


def _settings(rows: Sequence[Row]) -> int:
    return sum(1 for r in rows if r.entry.parent is None and r.entry.state != "failed")


def _best(rows: Sequence[Row], max_latency_us: float) -> int | None:
    try:
        return choose(rows, max_latency_us).entry.number
    except GateError:
        return None
