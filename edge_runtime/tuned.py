"""The locked choice of ``imago tune``: written once, used and re-checked by every ``imago run --tuned``."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.files import write_json
from imago.edge_runtime.messages import tr
from imago.edge_runtime.system import System, read_system
from imago.edge_runtime.tune import Tuning

TUNE_SCHEMA = 1
MAX_BYTES = 4_000_000
MAX_THREADS = 1024


@dataclass(frozen=True, slots=True)
class Tuned:
    """A choice that was measured. model: where the file is now. system: ``System.to_dict`` of back then."""

    model: Path
    sha256: str
    engine: str
    engine_version: str
    threads: int
    p50_us: float
    system: Mapping[str, Any]
    date: str

    def check(self, system: System | None = None) -> list[str]:
        """What is different here from where it was measured, in sentences; empty: the choice holds.

        Raises InputError where the model file is gone, or is another one: its accuracy passed no gate.
        """
        if not self.model.is_file():
            raise InputError("{path} is gone; tune again: imago tune MODEL…", path=self.model)
        if hashlib.sha256(self.model.read_bytes()).hexdigest() != self.sha256:
            raise InputError(
                "{path} is not the file that was measured; tune again: imago tune MODEL…", path=self.model
            )
        now, then = (system or read_system()).to_dict(), self.system
        return [
            tr("{name} ({old} → {new})", name=name, old=then.get(key), new=now.get(key))
            for key, name in (
                ("board", tr("the board")),
                ("cpu", tr("the processor")),
                ("cores", tr("the number of cores")),
                ("os", tr("the system")),
                ("machine", tr("the kind of machine")),
            )
            if then.get(key) != now.get(key)
        ] + self._engine_change(now)

    def _engine_change(self, now: Mapping[str, Any]) -> list[str]:
        then = dict(self.system.get("versions") or {})
        changed = [name for name, version in now["versions"].items() if then.get(name, version) != version]
        mine = [name for name in changed if name in ENGINE_PACKAGES.get(self.engine, ())]
        return [
            tr("{name} ({old} → {new})", name=name, old=then.get(name), new=now["versions"][name])
            for name in mine
        ]


ENGINE_PACKAGES = {
    "onnxruntime": ("onnxruntime",),
    "litert": ("ai-edge-litert",),
    "tflite": ("tflite-runtime",),
}


def write_tuned(target: Path, tuning: Tuning, *, max_drop: float) -> dict[str, Any]:
    """Lock ``tuning``'s choice in ``target`` (JSON); returns what was written.

    The model's place is kept relative to ``target``, so that the folder can be moved.
    """
    chosen = tuning.chosen
    place = os.path.relpath(chosen.model.resolve(), target.resolve().parent)
    data = {
        "tune_schema": TUNE_SCHEMA,
        "model": Path(place).as_posix(),
        "sha256": chosen.sha256,
        "engine": chosen.engine,
        "engine_version": chosen.engine_version,
        "threads": chosen.threads,
        "p50_us": round(chosen.p50_us, 2),
        "max_drop_points": max_drop,
        "system": read_system().to_dict(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "candidates": [candidate.to_dict() for candidate in tuning.candidates],
    }
    write_json(target, data)
    return data


def read_tuned(path: Path) -> Tuned:
    """The choice in ``path``. Raises InputError where it is none."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("too large")
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["tune_schema"] != TUNE_SCHEMA or not 1 <= int(data["threads"]) <= MAX_THREADS:
            raise ValueError(f"schema {data['tune_schema']}, {data['threads']} threads")
        return Tuned(
            model=path.parent / str(data["model"]),
            sha256=str(data["sha256"]),
            engine=str(data["engine"]),
            engine_version=str(data["engine_version"]),
            threads=int(data["threads"]),
            p50_us=float(data["p50_us"]),
            system=dict(data["system"]),
            date=str(data["date"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "{path} is no choice of imago tune ({reason}); tune again", path=path, reason=error
        ) from error
