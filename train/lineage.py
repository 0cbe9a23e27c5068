"""The finished runs that a run comes from: where it starts (``init``) and what teaches it (``teacher``).

A run keeps facts on them, never paths: they travel into the contract of the exported model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr
from imago.train.checkpoint import WEIGHTS
from imago.train.dataset import Dataset
from imago.train.run import Run


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A finished run. facts: JSON; ``weights`` is the SHA-256 of its weights file."""

    folder: Path
    run: Run
    facts: dict[str, Any]


def open_ancestor(folder: Path) -> Ancestor:
    """Raises InputError where ``folder`` is not a run, or one that has not finished."""
    run = Run.load(folder)
    if not (folder / WEIGHTS).is_file():
        raise InputError(
            "the run {path} is not finished; finish it first with: imago train --resume {path}", path=folder
        )
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    facts = {
        "name": folder.resolve().name,
        "model": run.model["name"],
        "weights": digest,
        "fingerprint": run.data.get("fingerprint"),
        "accuracy": list(run.results),
    }
    return Ancestor(folder.resolve(), run, facts)


def known_as(ancestor: Ancestor) -> str:
    """Its name, network and accuracy, for people."""
    figures = {f["split"]: f for f in ancestor.run.results}
    best = figures.get("val") or figures.get("test")
    accuracy = f"{best['split']} {best['top1']:.2%}" if best else "?"
    return f"{ancestor.facts['name']} ({ancestor.facts['model']}, {accuracy})"


def require_same(ancestor: Ancestor, before: Mapping[str, Any]) -> None:
    """On resume: raises InputError where the run is another one than at the start (``before``: its facts)."""
    if ancestor.facts["weights"] != before.get("weights"):
        raise InputError(
            "the run {path} has changed since training began with it; start a new run", path=ancestor.folder
        )


def other_pictures(ancestor: Ancestor, dataset: Dataset) -> list[str]:
    """A word of warning where it learned on other pictures or another split: it may know the test."""
    if ancestor.facts["fingerprint"] == dataset.fingerprint:
        return []
    return [
        tr(
            "{name} was trained on other pictures or another split ({data}): if pictures of this test split "
            "were among them, the accuracy measured here is too good",
            name=ancestor.facts["name"],
            data=ancestor.run.data["name"],
        )
    ]
