"""What a compression has measured so far, on disk: a stopped one goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import InputError, StorageError
from imago.edge_runtime.files import write_json
from imago.quantize.paired import PairedDrop
from imago.workflow.compress.choose import Measured, Recipe

STATE = "compress.json"
MODELS = "models"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Job:
    """One compression in its folder. origin: facts on the run, and the options that shape the files."""

    folder: Path
    origin: Mapping[str, Any]

    def model(self, recipe: Recipe) -> Path:
        """Where a candidate's file lies."""
        suffix = ".tflite" if recipe.engine == "tflite" else ".onnx"
        return self.folder / MODELS / f"{recipe.name}{suffix}"

    def pruned(self, macs: float) -> Path:
        """Where the run that keeps ``macs`` of the arithmetic lies."""
        return self.folder / "runs" / f"macs{round(100 * macs)}"

    def load(self) -> dict[str, dict[str, Any]]:
        """Finished candidates by name; empty for a new folder.

        Raises StorageError where the folder holds something else, or the compression of another run.
        """
        path = self.folder / STATE
        if not path.is_file():
            if self.folder.exists() and any(self.folder.iterdir()):
                raise StorageError("{path} exists already; choose another --out", path=self.folder)
            return {}
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            same = data["format"] == FORMAT and data["origin"] == json.loads(json.dumps(self.origin))
            done = {str(name): dict(row) for name, row in data["done"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                "{path} is damaged ({reason}); choose another --out", path=path, reason=repr(error)
            ) from error
        if not same:
            raise StorageError(
                "{path} was made from another run or with other settings; choose another --out",
                path=self.folder,
            )
        return {name: row for name, row in done.items() if (self.folder / MODELS / row["file"]).is_file()}

    def save(self, done: Mapping[str, Mapping[str, Any]], result: Mapping[str, Any] | None = None) -> None:
        """Write the state; ``result`` once all is done."""
        data = {"format": FORMAT, "origin": self.origin, "done": done}
        write_json(self.folder / STATE, {**data, **({"result": result} if result else {})})


def row_of(path: Path, accuracy: float, drop: PairedDrop, notes: tuple[str, ...] = ()) -> dict[str, Any]:
    """What is kept of a finished candidate."""
    return {
        "file": path.name,
        "accuracy": accuracy,
        "n": drop.n,
        "worse": drop.worse,
        "better": drop.better,
        "notes": list(notes),
    }


def measured(job: Job, recipe: Recipe, row: Mapping[str, Any], p50_us: float) -> Measured:
    """A candidate's row with its latency."""
    path = job.model(recipe)
    drop = PairedDrop(int(row["n"]), int(row["worse"]), int(row["better"]))
    return Measured(recipe, path, path.stat().st_size, float(row["accuracy"]), drop, p50_us)
