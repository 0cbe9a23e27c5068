"""What a board says, in lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imago.edge_runtime.messages import tr

MARKS = {"ok": "✓", "note": "·", "warning": "!", "problem": "✗"}


def findings_lines(report: Mapping[str, Any], *, everything: bool = False) -> list[str]:
    """The doctor's findings; without ``everything`` only the board, warnings and problems."""
    lines = []
    for finding in report.get("findings", ()):
        level = finding.get("level", "note")
        if everything or level in ("warning", "problem") or finding.get("check") == "board.model":
            remedy = f" → {finding['remedy']}" if finding.get("remedy") and level != "ok" else ""
            lines.append(_plain(f"{MARKS.get(level, '·')} {finding.get('text', '')}{remedy}"))
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
    return [_plain(line) for line in lines]


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
