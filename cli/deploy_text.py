"""What a board says, in lines for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from imago.edge_runtime.messages import tr
from imago.edge_runtime.sinks import printable

MARKS = {"ok": "✓", "note": "·", "warning": "!", "problem": "✗"}


def findings_lines(report: Mapping[str, Any], *, everything: bool = False) -> list[str]:
    """The doctor's findings; without ``everything`` only the board, warnings and problems."""
    lines = []
    for finding in report.get("findings", ()):
        level = finding.get("level", "note")
        if everything or level in ("warning", "problem") or finding.get("check") == "board.model":
            remedy = f" → {finding['remedy']}" if finding.get("remedy") and level != "ok" else ""
            lines.append(printable(f"{MARKS.get(level, '·')} {finding.get('text', '')}{remedy}"))
    return lines


def status_lines(facts: Mapping[str, Any], host: str) -> list[str]:
    """What runs on a board, and how it is."""
    current, health = facts.get("current"), facts.get("health") or {}
    if not current:
        return [tr("nothing is deployed on {host} yet", host=host)]
    well = facts.get("running") and health.get("status") == 200
    word = tr("well") if well else tr("not well") if facts.get("running") else tr("not running")
    lines = [
        tr("{host}: {name} ({release}), imago {version}: {word}",
           host=host, name=current["name"], release=current["release"], version=current["imago"], word=word),
    ]  # fmt: skip
    if health:
        lines.append(tr("  {frames} frames, the last {seconds} s ago",
                        frames=health.get("frames"), seconds=health.get("last_frame_s")))  # fmt: skip
    if facts.get("state"):
        lines.append(f"  systemd: {facts['state']}")
    previous = facts.get("previous")
    if previous:
        lines.append(tr("  before: {name} ({release}); back with --rollback",
                        name=previous["name"], release=previous["release"]))  # fmt: skip
    if facts.get("signed_only"):
        lines.append(tr("  takes signed bundles only"))
    return [printable(line) for line in lines]


def _logs(facts: Mapping[str, Any], host: str) -> list[str]:
    return [printable(str(line)) for line in facts["lines"]]


def _rollback(facts: Mapping[str, Any], host: str) -> list[str]:
    return [tr("runs on {host}: {release}", host=host, release=facts["release"])]


def _check(facts: Mapping[str, Any], host: str) -> list[str]:
    words = facts.get("warning") or facts.get("reason") or tr("well: {release}", release=facts["release"])
    return [printable(words)]


def _repair(facts: Mapping[str, Any], host: str) -> list[str]:
    return [printable(str(line)) for line in facts["mended"]] or [tr("nothing had to be mended")]


def _prune(facts: Mapping[str, Any], host: str) -> list[str]:
    return [tr("removed: {n} releases, {m} environments", n=len(facts["releases"]), m=len(facts["envs"]))]


def _bench(facts: Mapping[str, Any], host: str) -> list[str]:
    return [tr("p50 {us:.0f} µs on {host}", us=float(facts["bench"]["p50_us"]), host=host)]


LINES: dict[str, Callable[[Mapping[str, Any], str], list[str]]] = {
    "logs": _logs,
    "rollback": _rollback,
    "check": _check,
    "repair": _repair,
    "prune": _prune,
    "bench": _bench,
}
