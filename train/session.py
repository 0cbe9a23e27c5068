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

from imago.edge_runtime.errors import DataError, InputError, StorageError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.types import U8
from imago.train.augment import POLICIES, usual_policy
from imago.train.batches import Batches, Normalise
from imago.train.checkpoint import CHECKPOINT, WEIGHTS
from imago.train.coach import Coach
from imago.train.config import TrainConfig
from imago.train.data.cache import CachedSplit, open_caches, streams
from imago.train.data.layouts import load_dataset
from imago.train.dataset import Dataset
from imago.train.device import Place, choose_place, suited
from imago.train.distill import Teacher, check_teacher
from imago.train.lineage import Ancestor, known_as, open_ancestor, other_pictures, require_same
from imago.train.loop import Loop, Network
from imago.train.means import Means
from imago.train.models.registry import BuiltModel
from imago.train.results import Outcome, finish, ordered_batches
from imago.train.run import RUN_FILE, Run, library_versions
from imago.train.start import Start, start
from imago.train.suiting import check_growing, check_parts, class_weights, frozen_blocks
from imago.train.team import Team


def train(
    data: Path,
    config: TrainConfig,
    out: Path,
    *,
    resume: bool = False,
    test: bool = True,
    report: bool = True,
    coach: Coach | None = None,
    keep_start: bool = False,
    means: Means = Means(),  # noqa: B008 - frozen
    say: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Train ``config`` on the pictures in ``data`` and leave a run in the folder ``out``.

    test: measure on the test split at the end; not where more training follows and another choice is made.
    report: draw the charts and the page. coach, keep_start: see ``Loop``; with a coach, the run's
    ``epochs`` say afterwards how many it became.
    means: how the work is done (``means.py``); nothing of it changes the result but by rounding.
    Raises ImagoError subclasses for anything the user can mend; Interrupted after Ctrl-C, with the state
    saved. A finished run is not overwritten.
    """
    team, clock = means.team, means.clock
    if team.chief and not resume and out.exists() and any(out.iterdir()):
        raise StorageError(
            "{path} exists already; choose another --out, or go on with --resume {path}", path=out
        )
    place = choose_place(config, team)
    means.started(place)
    with clock.span("read data"), team.in_turn():
        dataset = load_dataset(data, config.data)
    team.require_same(dataset.fingerprint)
    begun = _begun(out, dataset, team) if resume else None
    with clock.span("build"):
        stepped, *_ = team.agree(team.chief and (out / CHECKPOINT).exists())
        begin = start(config, dataset, begun, stepped=bool(stepped))
    place = suited(place, config, begin.built.module)
    guide = _guide(config, dataset, begun)
    for note in (*dataset.notes, *begin.notes, *_introduced(guide, dataset)):
        say(note)
    spec = begin.input
    wanted = [name for name in dataset.splits if len(dataset.splits[name]) and (test or name != "test")]
    with clock.span("decode"), team.in_turn():
        splits = open_caches(dataset, wanted, spec, quota=means.cache_quota)
    for line in _streaming(splits, means.cache_quota):
        say(line)
    run = _describe(begin, dataset, guide)
    if begin.fresh:
        mean, std = pixel_statistics(splits["train"].images)
        run = replace(run, mean=mean, std=std)
    say(_headline(run, place, counted=coach is None))
    teacher = Teacher(guide, run, place) if guide is not None else None
    loop = _loop(run, begin.built, splits, teacher=teacher, place=place, out=out, say=say, means=means)
    loop.coach, loop.keep_start = coach, keep_start
    if team.chief:
        run.save(out)
    try:
        position = loop.run(resume=resume)
        if not team.chief:
            return Outcome(out, len(position.rows), None, None)
        if coach is not None:
            run = replace(run, config=replace(run.config, epochs=loop.epochs))
        with clock.span("evaluate"):
            return finish(run, loop, splits, position.rows, report=report)
    finally:
        means.ended(out)


def resume(
    out: Path,
    *,
    test: bool = True,
    means: Means = Means(),  # noqa: B008 - frozen
    say: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Go on with an interrupted run, with the configuration that it was started with."""
    run = _shared_run(out, means.team)
    if means.team.chief and not (out / CHECKPOINT).exists() and (out / WEIGHTS).exists():
        raise InputError("{path} is finished; nothing to resume", path=out)
    return train(Path(run.data["root"]), run.config, out, resume=True, test=test, means=means, say=say)


def _streaming(splits: dict[str, CachedSplit], quota: int) -> list[str]:
    """A line for each split that does not fit into ``quota`` bytes of cache."""
    large = [name for name, split in splits.items() if streams(split)]
    return [
        tr(
            "{split}: larger than the cache may be ({quota} MB): decoded anew in every epoch",
            split=name,
            quota=quota // 1_000_000,
        )
        for name in large
    ]


def _shared_run(out: Path, team: Team) -> Run:
    """The run in the chief's folder ``out``, which other machines need not have."""
    if team.world == 1 or team.chief:
        run = Run.load(out)
        team.share(out / RUN_FILE)
        return run
    return Run.from_text(team.share(out / RUN_FILE).decode(), out)


def _begun(out: Path, dataset: Dataset, team: Team) -> Run:
    """The interrupted run; raises DataError where its pictures are not these any more."""
    run = _shared_run(out, team)
    if run.data["fingerprint"] != dataset.fingerprint:
        raise DataError(
            "the pictures in {path} have changed since this run began; start a new run", path=dataset.root
        )
    return run


def _guide(config: TrainConfig, dataset: Dataset, begun: Run | None) -> Ancestor | None:
    """The teacher's run, fit to teach; on resume the same as at the start."""
    if config.teacher is None:
        return None
    guide = open_ancestor(config.teacher)
    check_teacher(guide, dataset.classes)
    if begun is not None:
        require_same(guide, begun.lineage.get("teacher", {}))
    return guide


def _introduced(guide: Ancestor | None, dataset: Dataset) -> list[str]:
    if guide is None:
        return []
    return [tr("teacher: {run}", run=known_as(guide)), *other_pictures(guide, dataset)]


def _describe(begin: Start, dataset: Dataset, guide: Ancestor | None) -> Run:
    config, built = begin.config, begin.built
    counts = {name: len(split) for name, split in dataset.splits.items()}
    lineage = {"init": begin.init, "teacher": guide.facts if guide is not None else {}}
    if guide is not None:
        config = replace(config, teacher=guide.folder)
    if config.augment == "auto":
        config = replace(config, augment=usual_policy(dataset.layout))
    return Run(
        config=config,
        model=built.config.to_dict(),
        input=begin.input,
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
        pruning=begin.pruning,
        lineage={role: facts for role, facts in lineage.items() if facts},
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


def _headline(run: Run, place: Place, *, counted: bool) -> str:
    counts = ", ".join(f"{name} {n}" for name, n in run.data["counts"].items())
    if not counted:
        return tr(
            "{model} on {data}: {classes} classes, {counts} pictures, {size} px, on {place}",
            model=run.config.network,
            data=run.data["name"],
            classes=len(run.classes),
            counts=counts,
            size=f"{run.input.width}×{run.input.height}",
            place=place,
        )
    return tr(
        "{model} on {data}: {classes} classes, {counts} pictures, {size} px, {epochs} epochs on {place}",
        model=run.config.network,
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
    teacher: Teacher | None,
    place: Place,
    out: Path,
    say: Callable[[str], None],
    means: Means,
) -> Loop:
    config, normalise, team = run.config, Normalise(run.mean, run.std), means.team
    train_split = splits["train"]
    check_parts(config, len(train_split), team)
    check_growing(config, built.module, train_split.images.shape)
    batches = Batches(
        train_split.images,
        train_split.labels,
        normalise,
        batch_size=min(config.batch_size, len(train_split.labels)),
        device=place.device,
        policy=POLICIES[config.augment],
        seed=config.seed,
        rank=team.rank,
        world=team.world,
        clock=means.clock,
    )
    return Loop(
        config,
        Network(built.module, built.blocks, frozen_blocks(config, built)),
        train=batches,
        val=ordered_batches(splits["val"], run, place, team) if "val" in splits else None,
        place=place,
        folder=out,
        class_weights=class_weights(config, train_split.labels, len(run.classes)),
        teacher=teacher,
        say=say,
        team=team,
        clock=means.clock,
    )
