"""``search.json``: what a search was begun with, so that it can go on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.files import write_json
from imago.train.dataset import Dataset

STATE = "search.json"
FORMAT = 1


def write_state(
    out: Path, dataset: Dataset, *, storage: str | None, study: str, settings: Mapping[str, Any]
) -> None:
    """storage: as it was given; None: the folder's own journal, wherever the folder is moved."""
    state = {
        "format": FORMAT,
        "data": str(dataset.root.resolve()),
        "fingerprint": dataset.fingerprint,
        "storage": storage,
        "study": study,
        "settings": settings,
    }
    write_json(out / STATE, state)


def read_state(out: Path) -> dict[str, Any]:
    """What ``write_state`` kept. Raises InputError where ``out`` is no search, or a damaged one."""
    path = out / STATE
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        if state["format"] != FORMAT:
            raise ValueError(f"format {state['format']}")
        return {key: state[key] for key in ("data", "fingerprint", "storage", "study", "settings")}
    except FileNotFoundError as error:
        raise InputError(
            "{path} is not a search (it has no search.json); give the folder that imago search wrote",
            path=out,
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            "{path} is damaged ({reason}); start a new search", path=path, reason=repr(error)
        ) from error
