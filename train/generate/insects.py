"""The embedded default: photographs of insects that nobody had to take.

Drawn, not photographed: wherever accuracy on them is shown it must be called generated, and the
``generated.json`` in the folder is what says so. They exist so that everything can be tried at once,
offline, on a problem that colours alone do not solve.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from imago.edge_runtime.errors import InputError, StorageError
from imago.edge_runtime.files import replacing, write_json
from imago.edge_runtime.messages import tr
from imago.edge_runtime.progress import Progress
from imago.edge_runtime.types import U8
from imago.train.generate.photo import DRAWN, draw_empty, draw_insect, draw_photo
from imago.train.generate.video import make_video

__all__ = [
    "CLASSES",
    "DISPLAY_NAMES_ZH",
    "contact_sheet",
    "draw_insect",
    "draw_photo",
    "make_dataset",
    "make_video",
    "split_counts",
]

CLASSES = tuple(DRAWN)
BACKGROUND = "background"
DISPLAY_NAMES_ZH = {
    "ant": "蚂蚁",
    "bee": "蜜蜂",
    "beetle": "甲虫",
    "butterfly": "蝴蝶",
    "dragonfly": "蜻蜓",
    "ladybird": "瓢虫",
}
NAMES_ZH = {**DISPLAY_NAMES_ZH, BACKGROUND: "背景"}
VERSION = 1  # goes up when the same seed gives other pictures
SPLITS = ("train", "val", "test")
MIN_PER_CLASS, MIN_SIZE = 7, 16  # below 7 a split would stay empty
MAX_SIZE = 2048
CHUNK = 25
WORTH_A_PROCESS = 600  # pictures; fewer are drawn before another process has started
MAX_WORKERS = 8
Job = tuple[str, int, int, int, int, int]  # file, split, class, index, seed, size


def split_counts(per_class: int) -> dict[str, int]:
    """Pictures of one class in each split: 70 / 15 / 15 in a hundred."""
    small = max(1, round(per_class * 0.15))
    return {"train": per_class - 2 * small, "val": small, "test": small}


def make_dataset(
    out: Path,
    *,
    per_class: int = 200,
    size: int = 96,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
    background: bool = False,
) -> None:
    """Write ``out/{train,val,test}/CLASS/NNNN.jpg`` and ``out/generated.json``; all or nothing.

    per_class: pictures of each class over all splits, at least 7. size: side in pixels. workers:
    processes (None: what the machine and the amount are worth). Each picture has a seed of its own, made
    from seed, split, class and number: no picture is in two splits, and workers change nothing.
    background: one more class, of pictures without an insect, for models that watch through a camera.
    Raises StorageError where ``out`` already holds something or cannot be written; InputError.
    """
    out = Path(out)
    _check(per_class, size, seed)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StorageError(
            "{path} exists and is not empty; choose another folder or remove it first", path=out
        )
    kinds = (*CLASSES, BACKGROUND) if background else CLASSES
    total = per_class * len(kinds)
    count = (
        workers if workers is not None else min(os.cpu_count() or 1, MAX_WORKERS, total // WORTH_A_PROCESS)
    )
    with replacing(out) as temporary:
        jobs = _plan(temporary, kinds, per_class, size, seed)
        with Progress(total, tr("drawing insects")) as bar:
            bar.enabled = bar.enabled and progress
            for drawn in _draw_all(jobs, count):
                bar.advance(drawn)
        write_json(temporary / "generated.json", _facts(kinds, per_class, size, seed))
        if out.exists():
            out.rmdir()  # empty; Windows renames onto nothing only


def _check(per_class: int, size: int, seed: int) -> None:
    if per_class < MIN_PER_CLASS:
        raise InputError(
            "{count} pictures per class cannot fill three splits; give at least {least}",
            count=per_class,
            least=MIN_PER_CLASS,
        )
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise InputError(
            "pictures of {size} pixels cannot be drawn; give {least} to {most}",
            size=size,
            least=MIN_SIZE,
            most=MAX_SIZE,
        )
    if seed < 0:
        raise InputError("the seed is {seed}; give 0 or more", seed=seed)


def _facts(kinds: tuple[str, ...], per_class: int, size: int, seed: int) -> dict[str, Any]:
    return {
        "generator": "imago insects",
        "version": VERSION,
        "seed": seed,
        "per_class": per_class,
        "size": size,
        "counts": split_counts(per_class),
        "classes": list(kinds),
        "display_names": {"zh": {kind: NAMES_ZH[kind] for kind in kinds}},
    }


def _plan(root: Path, kinds: tuple[str, ...], per_class: int, size: int, seed: int) -> list[Job]:
    """Every picture to draw; makes their folders."""
    jobs: list[Job] = []
    for split, name in enumerate(SPLITS):
        for label, kind in enumerate(kinds):
            folder = root / name / kind
            folder.mkdir(parents=True)
            for i in range(split_counts(per_class)[name]):
                jobs.append((str(folder / f"{i:04}.jpg"), split, label, i, seed, size))
    return jobs


def _draw_all(jobs: list[Job], workers: int) -> Iterator[int]:
    """Draw, in processes where that pays; yields how many more are done."""
    chunks = [jobs[i : i + CHUNK] for i in range(0, len(jobs), CHUNK)]
    if workers > 1:
        try:
            yield from _in_processes(chunks, workers)
            return
        except BrokenProcessPool:
            # A caller without an importable main (a script fed through stdin) cannot start processes;
            # whatever they drew is drawn again, the same.
            pass
    yield from map(_draw_chunk, chunks)


def _in_processes(chunks: list[list[Job]], workers: int) -> Iterator[int]:
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        try:
            yield from pool.map(_draw_chunk, chunks)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _draw_chunk(jobs: Iterable[Job]) -> int:
    """Draw these pictures (in any process); returns how many."""
    cv2.setNumThreads(1)  # the pictures are small, and there is a process per core
    done = 0
    for file, split, label, index, seed, size in jobs:
        rng = np.random.default_rng([seed, split, label, index, size])
        empty = label == len(CLASSES)
        picture = draw_empty(rng, size) if empty else draw_photo(CLASSES[label], rng, size)
        Path(file).write_bytes(_jpeg(picture, int(rng.integers(55, 96))))
        done += 1
    return done


def _jpeg(picture: U8, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return file.getvalue()


def contact_sheet(out: Path, *, columns: int = 6, size: int = 96, seed: int = 0) -> None:
    """A sheet with a row of photographs per class; JPEG, or PNG with 256 colours. Raises StorageError."""
    sheet = Image.new("RGB", (columns * size, len(CLASSES) * size))
    for row, kind in enumerate(CLASSES):
        for column in range(columns):
            rng = np.random.default_rng([seed, row, column])
            sheet.paste(Image.fromarray(draw_photo(kind, rng, size)), (column * size, row * size))
    if out.suffix.lower() == ".png":
        sheet = sheet.quantize(256)  # noise makes full-colour PNG several times as large
    with replacing(out) as temporary:
        sheet.save(temporary)
