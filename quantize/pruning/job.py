"""What a pruning in progress keeps on disk, so that it can be stopped anywhere and go on.

Beside the run folder OUT that it will end in stands OUT.pruning:
prune.json        which run, which data, which options
1-cut, 2-cut …    the network after each cut: a run folder, not yet retrained
1-trained …       after each retraining but the last, which happens in OUT itself
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from imago.edge_runtime.errors import InputError, StorageError
from imago.edge_runtime.files import write_json
from imago.quantize.pruning.options import PruneOptions
from imago.train.checkpoint import CHECKPOINT, WEIGHTS
from imago.train.run import RUN_FILE

STATE = "prune.json"


@dataclass(frozen=True, slots=True)
class Job:
    """source: the run to prune, whose weights file has the SHA-256 ``weights``. data: root of its data
    set."""

    source: Path
    weights: str
    data: Path
    out: Path
    options: PruneOptions

    @property
    def work(self) -> Path:
        """The folder of unfinished business."""
        return workspace(self.out)

    def cut(self, step: int) -> Path:
        """Run folder of step 1 .. ``steps`` before its retraining."""
        return self.work / f"{step}-cut"

    def trained(self, step: int) -> Path:
        """Run folder of step 1 .. ``steps`` after its retraining; step 0 is the run that is pruned."""
        if step == 0:
            return self.source
        return self.out if step == self.options.steps else self.work / f"{step}-trained"

    @property
    def teacher(self) -> Path:
        """Run folder whose answers the retrainings learn from."""
        return Path(self.options.teacher) if self.options.teacher else self.source

    def require_free(self) -> None:
        """Raises StorageError where something is in the way."""
        if self.work.exists():
            raise StorageError(
                "a pruning to {path} was begun already; go on with imago prune --resume {path}, "
                "or delete {work}",
                path=self.out,
                work=self.work,
            )
        if self.out.exists():
            raise StorageError("{path} exists already; choose another --out", path=self.out)

    def begin(self) -> None:
        """Write the state."""
        state = {"source": str(self.source), "weights": self.weights, "data": str(self.data)}
        write_json(self.work / STATE, {**state, "options": self.options.to_dict()})

    def end(self) -> None:
        """Only OUT stays."""
        shutil.rmtree(self.work, ignore_errors=True)


def workspace(out: Path) -> Path:
    """Where a pruning that ends in ``out`` keeps what is unfinished."""
    return out.resolve().parent / f"{out.resolve().name}.pruning"


def open_job(out: Path) -> Job:
    """The pruning that was begun for ``out``. Raises InputError where there is none."""
    path = workspace(out) / STATE
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        options = PruneOptions.from_dict(state["options"])
        return Job(Path(state["source"]), str(state["weights"]), Path(state["data"]), out, options)
    except FileNotFoundError as error:
        if finished(out):
            raise InputError("{path} is finished; nothing to resume", path=out) from error
        raise InputError(
            "no pruning to {path} was begun ({state} is missing); start one with imago prune RUN -o {path}",
            path=out,
            state=path,
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            "{path} is damaged ({reason}); prune again", path=path, reason=repr(error)
        ) from error


def finished(folder: Path) -> bool:
    """Whether a training in this run folder came to its end."""
    return (folder / WEIGHTS).is_file() and not (folder / CHECKPOINT).exists()


def begun(folder: Path) -> bool:
    """Whether a training in this run folder can be resumed; what a kill left before that is removed."""
    if (folder / RUN_FILE).is_file():
        return True
    if folder.exists():
        for leftover in folder.iterdir():
            if leftover.name.startswith(".") and ".tmp" in leftover.suffixes:  # of files.replacing
                leftover.unlink()
    return False
