"""From choices to a run: what is missing, what it will be called, and how it is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import ImagoError, InputError
from imago.edge_runtime.messages import tr
from imago.studio.context import Studio
from imago.studio.datasets import find_set
from imago.studio.jobs.job import Job
from imago.studio.lab.nets import with_net
from imago.studio.parameters import config_from, find
from imago.train.config import TrainConfig
from imago.train.models.plan import NET
from imago.train.run import RUN_FILE, Run

METRICS, FIGURES, WEIGHTS = "metrics.jsonl", "metrics.json", "weights.safetensors"


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a training needs."""

    config: TrainConfig
    data: Path
    name: str


def open_questions(studio: Studio) -> list[tuple[str, str]]:
    """What has to be chosen first: pairs of a page's address and what is missing there."""
    now = studio.choices
    found = []
    if not now.model:
        found.append(("/model", tr("choose a network")))
    try:
        if not now.data:
            raise InputError("choose pictures")
        find_set(studio.workspace, now.data)
    except ImagoError as error:
        found.append(("/data", str(error)))
    try:
        configured(studio)
    except ImagoError as error:
        found.append(("/parameters", str(error)))
    return found


def configured(studio: Studio, parameters: Mapping[str, Any] | None = None) -> TrainConfig:
    """What the chosen network and ``parameters`` (None: those that were chosen) come to.

    Raises InputError where they contradict each other, or need a run that is not there.
    """
    now = studio.choices
    chosen = now.parameters if parameters is None else parameters
    config = config_from(now.model or TrainConfig().model, chosen, studio.workspace.runs)
    for name in ("init", "teacher"):
        folder = getattr(config, name)
        if folder is not None and not (folder / WEIGHTS).is_file():
            raise InputError(
                "{label}: there is no finished run {name} any more; choose another",
                label=find(name).label,
                name=folder.name,
            )
    if config.init is None:
        return with_net(studio.workspace, config)
    own = Run.load(config.init).config.model
    if own != config.model:
        raise InputError(
            "{label}: the run {name} is a {own}, and the chosen network is {model}; choose the same network, "
            "or another run",
            label=find("init").label,
            name=config.init.name,
            own=own,
            model=config.model,
        )
    return config


def plan(studio: Studio) -> Plan:
    """The training that the choices describe. Raises InputError for the first thing that is missing."""
    now = studio.choices
    if not now.model:
        raise InputError("choose a network")
    if not now.data:
        raise InputError("choose pictures")
    found = find_set(studio.workspace, now.data)
    config = configured(studio)
    name = f"{now.data}-{now.model.removeprefix(NET)}"
    return Plan(config, found.root, studio.workspace.free_run(name).name)


def begin(studio: Studio) -> Job:
    """Put the training that the choices describe into the queue, and look at its run from now on."""
    wanted = plan(studio)
    return begin_with(studio, wanted.config, wanted.data, wanted.name)


def begin_with(studio: Studio, config: TrainConfig, data: Path, name: str) -> Job:
    """Train ``config`` on the pictures in ``data``; the run becomes ``runs/name`` (or ``name-2`` …)."""
    run = _reserved(studio, name)
    job = studio.jobs.add("train", run.name, {"data": str(data), "config": config.to_dict(), "run": str(run)})
    studio.memory.change(run=run.name, model_file="")
    return job


def _reserved(studio: Studio, name: str) -> Path:
    """A run folder that neither exists nor is asked for already."""
    taken = {job.order.arguments.get("run") for job in studio.jobs.jobs()}
    path = studio.workspace.free_run(name)
    number = 1
    while str(path) in taken or path.exists():
        number += 1
        path = studio.workspace.runs / f"{name}-{number}"
    return path


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as the pages show it. rows: one per epoch. figures: ``metrics.json``, {} until it has ended."""

    name: str
    folder: Path
    run: Run
    rows: tuple[dict[str, Any], ...]
    figures: dict[str, Any]
    finished: bool

    @property
    def split(self) -> str:
        """The split that judges: test where there is one."""
        return next((split for split in ("test", "val") if split in self.figures), "")

    @property
    def result(self) -> dict[str, Any]:
        """Figures on that split."""
        return dict(self.figures.get(self.split, {}))

    @property
    def models(self) -> list[Path]:
        """Model files of this run, the plain one first."""
        found = sorted(path for path in self.folder.glob("*.onnx")) + sorted(self.folder.glob("*.tflite"))
        compressed = self.folder / "compressed" / "models"
        return found + sorted((*compressed.glob("*.onnx"), *compressed.glob("*.tflite")))

    @property
    def model(self) -> Path | None:
        """The plain exported model."""
        path = self.folder / f"{self.folder.name}.onnx"
        return path if path.is_file() else None


def rows_of(folder: Path) -> tuple[dict[str, Any], ...]:
    """What ``metrics.jsonl`` holds so far."""
    try:
        lines = (folder / METRICS).read_text(encoding="utf-8").splitlines()
        return tuple(json.loads(line) for line in lines)
    except (OSError, ValueError):
        return ()


def view(folder: Path) -> RunView:
    """Raises InputError where ``folder`` is no run."""
    run = Run.load(folder)
    try:
        figures = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        figures = {}
    return RunView(folder.name, folder, run, rows_of(folder), figures, (folder / WEIGHTS).is_file())


def all_runs(studio: Studio) -> list[RunView]:
    """Runs of the workspace, the newest first; folders that are none are left out."""
    folders = [path.parent for path in studio.workspace.runs.glob(f"*/{RUN_FILE}")]
    found = []
    for folder in sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            found.append(view(folder))
        except ImagoError:
            continue
    return found


def chosen_run(studio: Studio) -> RunView | None:
    """The finished run that the later steps look at: the chosen one, else the newest."""
    finished = [one for one in all_runs(studio) if one.finished]
    return next(
        (one for one in finished if one.name == studio.choices.run), finished[0] if finished else None
    )
