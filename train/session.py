"""``train(data, config, out)``: the whole of one training run, as named steps.

data set → cache → network → loop → best weights → temperature → figures on validation and, once,
test → report. Everything that later steps need lands in the run folder (``run.py``).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imago.edge_runtime.errors import DataError, InputError, StorageError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.spec import InputSpec
from imago.edge_runtime.types import U8
from imago.train.augment import POLICIES
from imago.train.batches import Batches, Normalise, seed_of
from imago.train.checkpoint import CHECKPOINT, WEIGHTS
from imago.train.config import TrainConfig
from imago.train.data.cache import CachedSplit, open_cache
from imago.train.data.layouts import load_dataset
from imago.train.dataset import Dataset
from imago.train.device import Place, choose_place
from imago.train.loop import Loop, Network
from imago.train.models.registry import BuiltModel, build_model, default_input
from imago.train.results import Outcome, finish, ordered_batches
from imago.train.run import Run, library_versions

IMBALANCE = 3.0  # largest class : smallest class, from which "auto" weighs rare classes up


def train(
    data: Path,
    config: TrainConfig,
    out: Path,
    *,
    resume: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Train ``config`` on the pictures in ``data`` and leave a run in the folder ``out``.

    Raises ImagoError subclasses for anything the user can mend; Interrupted after Ctrl-C, with the state
    saved. A finished run is not overwritten.
    """
    if not resume and out.exists() and any(out.iterdir()):
        raise StorageError(
            "{path} exists already; choose another --out, or go on with --resume {path}", path=out
        )
    place = choose_place(config)
    dataset = load_dataset(data, config.data)
    if resume:
        _check_same_pictures(out, dataset)
    built, spec = _network(config, dataset)
    for note in (*dataset.notes, *built.notes):
        say(note)
    splits = {name: open_cache(dataset, name, spec) for name in dataset.splits if len(dataset.splits[name])}
    run = _describe(config, dataset, built, spec)
    if not (config.pretrained or config.weights):
        mean, std = pixel_statistics(splits["train"].images)
        run = replace(run, mean=mean, std=std)
    say(_headline(run, place))
    loop = _loop(run, built, splits, place=place, out=out, say=say)
    run.save(out)
    position = loop.run(resume=resume)
    return finish(run, loop, splits, position.rows)


def resume(out: Path, *, say: Callable[[str], None] = lambda text: None) -> Outcome:
    """Go on with an interrupted run, with the configuration that it was started with."""
    run = Run.load(out)
    if not (out / CHECKPOINT).exists() and (out / WEIGHTS).exists():
        raise InputError("{path} is finished; nothing to resume", path=out)
    return train(Path(run.data["root"]), run.config, out, resume=True, say=say)


def _check_same_pictures(out: Path, dataset: Dataset) -> None:
    if Run.load(out).data["fingerprint"] != dataset.fingerprint:
        raise DataError(
            "the pictures in {path} have changed since this run began; start a new run", path=dataset.root
        )


def _network(config: TrainConfig, dataset: Dataset) -> tuple[BuiltModel, InputSpec]:
    width, height, channels, color = default_input(config.model)
    if config.size:
        width = height = config.size
    torch.manual_seed(seed_of(config.seed, 0))
    built = build_model(
        config.model,
        len(dataset.classes),
        channels=channels,
        size=(width, height),
        pretrained=config.pretrained,
        weights=config.weights,
        stem=config.stem,
    )
    return built, InputSpec(width, height, channels, color, fit=config.fit)


def _describe(config: TrainConfig, dataset: Dataset, built: BuiltModel, spec: InputSpec) -> Run:
    counts = {name: len(split) for name, split in dataset.splits.items()}
    if config.augment == "auto":
        config = replace(config, augment="light" if dataset.layout == "idx" else "standard")
    return Run(
        config=config,
        model=built.config.to_dict(),
        input=spec,
        classes=dataset.classes,
        mean=built.mean,
        std=built.std,
        data={
            "root": str(dataset.root.resolve()),
            "name": dataset.name,
            "layout": dataset.layout,
            "fingerprint": dataset.fingerprint,
            "counts": counts,
            "generated": dataset.generated,
            "notes": list(dataset.notes),
        },
        display_names=_display_names(dataset),
        versions=library_versions(),
    )


def pixel_statistics(images: U8, count: int = 4096) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of 0..1 pixels per channel, over up to ``count`` pictures spread evenly.

    images: uint8 ``(n, H, W, C)``. A network that starts from nothing learns best on centred input.
    """
    picked = np.unique(np.linspace(0, len(images) - 1, min(count, len(images))).astype(int))
    pixels = images[picked].reshape(-1, images.shape[3])
    mean = pixels.mean(0, dtype=np.float64) / 255
    std = np.maximum(pixels.std(0, dtype=np.float64) / 255, 0.05)  # a blank set must not blow up
    return tuple(round(float(v), 4) for v in mean), tuple(round(float(v), 4) for v in std)


def _display_names(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    """Names in other languages, which generated sets carry."""
    marker = dataset.root / "generated.json"
    if not dataset.generated or not marker.is_file():
        return {}
    names = json.loads(marker.read_text(encoding="utf-8")).get("display_names", {})
    return {lang: tuple(table.get(c, c) for c in dataset.classes) for lang, table in names.items()}


def _headline(run: Run, place: Place) -> str:
    counts = ", ".join(f"{name} {n}" for name, n in run.data["counts"].items())
    return tr(
        "{model} on {data}: {classes} classes, {counts} pictures, {size} px, {epochs} epochs on {place}",
        model=run.config.model,
        data=run.data["name"],
        classes=len(run.classes),
        counts=counts,
        size=f"{run.input.width}×{run.input.height}",
        epochs=run.config.epochs,
        place=place,
    )


def _loop(
    run: Run,
    built: BuiltModel,
    splits: dict[str, CachedSplit],
    *,
    place: Place,
    out: Path,
    say: Callable[[str], None],
) -> Loop:
    config, normalise = run.config, Normalise(run.mean, run.std)
    train_split = splits["train"]
    batches = Batches(
        train_split.images,
        train_split.labels,
        normalise,
        batch_size=min(config.batch_size, len(train_split.labels)),
        device=place.device,
        policy=POLICIES[config.augment],
        seed=config.seed,
    )
    return Loop(
        config,
        Network(built.module, built.blocks, _frozen_blocks(config, built)),
        train=batches,
        val=ordered_batches(splits["val"], run, place) if "val" in splits else None,
        place=place,
        folder=out,
        class_weights=_class_weights(config, train_split.labels, len(run.classes)),
        say=say,
    )


def _frozen_blocks(config: TrainConfig, built: BuiltModel) -> int:
    """How many blocks start frozen; the last block is the head, which always learns."""
    if config.freeze == "none":
        return 0
    if config.freeze == "backbone":
        return len(built.blocks) - 1
    count = int(config.freeze)
    if count >= len(built.blocks):
        raise InputError(
            "--freeze {count}: {model} has {blocks} blocks and the last one must learn; give at most {most}",
            count=count,
            model=config.model,
            blocks=len(built.blocks),
            most=len(built.blocks) - 1,
        )
    return count


def _class_weights(config: TrainConfig, labels: npt.NDArray[np.int64], classes: int) -> Tensor | None:
    """Weights in inverse proportion to class size, mean 1 over the pictures; None for equal weights."""
    counts = np.bincount(labels, minlength=classes)
    uneven = counts.max() >= IMBALANCE * max(1, counts.min())
    if config.class_weights == "off" or (config.class_weights == "auto" and not uneven):
        return None
    weights = len(labels) / (classes * np.maximum(counts, 1))
    return torch.from_numpy(weights.astype(np.float32))
