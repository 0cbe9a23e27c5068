"""Drawn insects as a data set of the workspace, made in a process of their own."""

from __future__ import annotations

from imago.studio.context import Studio
from imago.studio.jobs.job import LIVE, Job

PER_CLASS, SIZE = 120, 64


def draw_insects(studio: Studio, name: str, per_class: int = PER_CLASS) -> Job | None:
    """Ask for the set ``name``; None where it is there already."""
    target = studio.workspace.data / name
    if target.exists():
        return None
    asked = studio.jobs.find("draw", out=str(target))
    if asked is not None and asked.status in LIVE:
        return asked
    arguments = {"out": str(target), "per_class": per_class, "size": SIZE}
    return studio.jobs.add("draw", name, arguments, lane="side")
