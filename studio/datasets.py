"""The workspace's sets of pictures: what there is, how many of each class, and single pictures to show."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from imago.edge_runtime.errors import DataError, ImagoError, InputError
from imago.edge_runtime.files import write_json
from imago.edge_runtime.imageio import encode_jpeg, read_image
from imago.edge_runtime.types import Frame
from imago.studio.workspace import Workspace, free, plain, safe_name
from imago.train.data.listing import Listing, list_dataset
from imago.train.dataset import SPLITS, DataOptions

LINK = ".link.json"
THUMB, MAX_PIXELS = 128, 50_000_000


@dataclass(frozen=True, slots=True)
class DataSet:
    """One set. root: its folder. linked: it lies elsewhere on this computer and is never changed."""

    name: str
    root: Path
    linked: bool = False


@dataclass(frozen=True, slots=True)
class Census:
    """What a set holds. counts: class → split → pictures. samples: class → (split, index) to show.

    problem: why it cannot be trained on, in words; "" where it can.
    """

    layout: str
    classes: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    samples: dict[str, tuple[tuple[str, int], ...]]
    notes: tuple[str, ...] = ()
    problem: str = ""

    @property
    def total(self) -> int:
        """Pictures in all."""
        return sum(sum(row.values()) for row in self.counts.values())

    def of(self, name: str) -> int:
        """Pictures of one class."""
        return sum(self.counts[name].values())


def all_sets(workspace: Workspace) -> list[DataSet]:
    """By name."""
    found = []
    for path in workspace.data.iterdir():
        if path.name.endswith(LINK):
            target = _linked(path)
            if target is not None:
                found.append(DataSet(path.name.removesuffix(LINK), target, linked=True))
        elif path.is_dir() and not path.name.startswith("."):
            found.append(DataSet(path.name, path))
    return sorted(found, key=lambda one: one.name.lower())


def find_set(workspace: Workspace, name: str) -> DataSet:
    """Raises InputError where there is no such set."""
    path = workspace.data / plain(name)
    if path.is_dir():
        return DataSet(name, path)
    target = _linked(workspace.data / f"{name}{LINK}")
    if target is None:
        raise InputError("there is no data set {name} in the workspace", name=name)
    return DataSet(name, target, linked=True)


def link_folder(workspace: Workspace, typed: str) -> DataSet:
    """Use a folder of this computer where it is. Raises DataError where it is no data set."""
    folder = Path(typed.strip().strip('"')).expanduser()
    if not typed.strip() or not folder.is_absolute():
        raise InputError("give the whole path of the folder, from its root on")
    list_dataset(folder, DataOptions())
    name = free_name(workspace, folder.resolve().name or "data")
    write_json(workspace.data / f"{name}{LINK}", {"folder": str(folder.resolve())})
    return DataSet(name, folder.resolve(), linked=True)


def free_name(workspace: Workspace, wanted: str) -> str:
    """A name that no set has yet."""
    taken = {one.name for one in all_sets(workspace)}
    name = safe_name(wanted)
    path = free(workspace.data / name)
    while path.name in taken:
        path = free(path.with_name(f"{path.name}-2"))
    return path.name


def remove_set(workspace: Workspace, name: str) -> None:
    """Delete a set of the workspace; of a linked one only the link."""
    found = find_set(workspace, name)
    if found.linked:
        (workspace.data / f"{name}{LINK}").unlink(missing_ok=True)
    else:
        shutil.rmtree(found.root, ignore_errors=True)


def _linked(path: Path) -> Path | None:
    try:
        target = Path(json.loads(path.read_text(encoding="utf-8"))["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return target if target.is_dir() else None


def listing_of(found: DataSet) -> Listing:
    """What is in a set's folder; the answer is kept until something in it changes. Raises DataError."""
    return _listing(found.root, _stamp(found.root))


def listing_stamp(found: DataSet) -> str:
    """Another text when pictures have come or gone."""
    return hashlib.sha256(repr(_stamp(found.root)).encode()).hexdigest()[:16]


@lru_cache(maxsize=16)
def _listing(root: Path, stamp: tuple[int, ...]) -> Listing:
    return list_dataset(root, DataOptions())


def _stamp(root: Path) -> tuple[int, ...]:
    """Changes when files come or go: the folders' times, down to class folders inside splits."""
    folders = [root]
    for depth in range(2):
        inner = [sub for top in folders if len(top.relative_to(root).parts) == depth for sub in _folders(top)]
        folders += inner
    return tuple(sorted(folder.stat().st_mtime_ns for folder in folders))


def _folders(top: Path) -> list[Path]:
    try:
        return [path for path in top.iterdir() if path.is_dir()]
    except OSError:
        return []


def census(found: DataSet, shown: int = 6) -> Census:
    """Count the set's pictures; what is amiss is in ``problem``, not raised."""
    try:
        listing = listing_of(found)
    except ImagoError as error:
        return Census("", _class_folders(found), {n: {} for n in _class_folders(found)}, {}, (), str(error))
    counts: dict[str, Counter[str]] = {name: Counter() for name in listing.classes}
    samples: dict[str, list[tuple[str, int]]] = {name: [] for name in listing.classes}
    for split in SPLITS:
        for index, label in enumerate(_labels(listing, split)):
            counts[label][split] += 1
            if len(samples[label]) < shown:
                samples[label].append((split, index))
    problem = str(listing.problems[0]) if listing.problems else ""
    if not problem and listing.empty:
        problem = str(
            DataError(
                "no pictures to train on for the class {names}; add some, or remove its folder",
                names=", ".join(listing.empty[:5]),
            )
        )
    kept = {name: tuple(rows) for name, rows in samples.items()}
    plainly = {name: dict(row) for name, row in counts.items()}
    return Census(listing.layout, listing.classes, plainly, kept, listing.notes, problem)


def _class_folders(found: DataSet) -> tuple[str, ...]:
    """The classes of a collection that has no pictures yet."""
    return tuple(sorted(path.name for path in _folders(found.root) if not path.name.startswith(".")))


def _labels(listing: Listing, split: str) -> list[str]:
    if listing.images is not None:
        numbers = listing.image_labels.get(split, np.zeros(0, np.int64))
        return [listing.classes[number] for number in numbers.tolist()]
    return [label for _, label in listing.entries.get(split, ())]


def frame(found: DataSet, split: str, index: int) -> Frame:
    """One picture of a set, decoded. Raises InputError where there is none."""
    listing = listing_of(found)
    if listing.images is not None:
        images = listing.images.get(split)
        if images is not None and 0 <= index < len(images):
            return Frame(np.ascontiguousarray(images[index]), "gray")
    else:
        entries = listing.entries.get(split, [])
        if 0 <= index < len(entries):
            return read_image(found.root / entries[index][0], max_pixels=MAX_PIXELS)
    raise InputError("there is no picture {index} in {split}", index=index, split=split)


def thumbnail(found: DataSet, split: str, index: int, side: int = THUMB) -> bytes:
    """A small JPEG of one picture."""
    return encode_jpeg(frame(found, split, index), quality=85, max_side=side)
