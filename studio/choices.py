"""What has been chosen on the way so far: one frozen value, kept in the workspace."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import StorageError
from imago.edge_runtime.files import write_json

SAVE_AFTER_S = 0.3


@dataclass(frozen=True, slots=True)
class Choices:
    """task: what is learnt. model: key of the catalogue, or what the builder made. data: name of a set in
    the workspace. parameters: the fields of ``TrainConfig`` that differ from their defaults. run: folder name
    of the run that the later steps look at. model_file: the model file to try and deploy, relative to the
    workspace. notes: what other pages keep, by their address.
    """

    task: str = ""
    model: str = ""
    data: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    run: str = ""
    model_file: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> Choices:
        """What was kept in ``file``; whatever does not fit is left out."""
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return cls()
        if not isinstance(kept, dict):
            return cls()
        known: dict[str, Any] = {f.name: f for f in fields(cls)}
        fresh = cls()
        fitting = {
            name: value
            for name, value in kept.items()
            if name in known and isinstance(value, type(getattr(fresh, name)))
        }
        return replace(fresh, **fitting)


class Memory:
    """The choices of this workspace; every change is on disk a moment later."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self.now = Choices.read(file)
        self.version = 0

    def change(self, **values: Any) -> None:
        """Choose; returns at once."""
        self.now = replace(self.now, **values)
        self.version += 1
        with self._lock:
            if self._timer is None:
                self._timer = threading.Timer(SAVE_AFTER_S, self.save)
                self._timer.daemon = True
                self._timer.start()

    def note(self, page: str, value: Any) -> None:
        """Keep something JSON for a page, under its address."""
        self.change(notes={**self.now.notes, page: value})

    def save(self) -> None:
        """Write now. A full disk costs the memory of this session, not the session."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None
        try:
            write_json(self._file, asdict(self.now))
        except StorageError as error:
            self.complaint = str(error)

    complaint = ""
