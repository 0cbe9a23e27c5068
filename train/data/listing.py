"""What a data set's folder holds, found without judging: entries per split, classes, and what is amiss.

`load_dataset` stops at the first problem; `imago data check` lists them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.errors import DataError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.types import U8
from imago.train.data.folders import content, nfc, subfolders
from imago.train.data.idx import find_idx, read_pair
from imago.train.data.listfiles import SPLIT_NAMES, read_lines, read_split_file
from imago.train.dataset import DataOptions

Entry = tuple[str, str]  # path relative to the root, class name


@dataclass(frozen=True)
class Listing:
    """``entries``: split → pictures, sorted by path; a set without splits has everything in ``train``."""

    layout: str
    entries: Mapping[str, list[Entry]]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    problems: tuple[DataError, ...] = ()
    empty: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    loose: tuple[str, ...] = ()
    images: Mapping[str, U8] | None = None
    image_labels: Mapping[str, npt.NDArray[np.int64]] = field(default_factory=dict)


@dataclass
class Found:
    """What class folders hold, collected while walking."""

    entries: list[Entry] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    loose: tuple[str, ...] = ()
    others: list[str] = field(default_factory=list)


def list_dataset(root: Path, options: DataOptions) -> Listing:
    """Recognise the layout and list it; raises DataError where there is nothing to list."""
    if not root.exists():
        raise DataError(
            "there is no folder {path}; give the folder that holds one sub-folder of pictures per class",
            path=root,
        )
    if not root.is_dir():
        raise DataError(
            "{path} is a file; unpack it and give the folder that holds the class folders", path=root
        )
    if options.split_file is not None:
        return _from_split_file(root, options.split_file)
    idx = find_idx(root)
    if idx:
        return _from_idx(root)
    from imago.train.data.tarsets import find_shards, list_shards  # they build on this module
    from imago.train.data.xedu import TRAIN_NAMES, list_xedu

    shards = find_shards(root)
    if shards:
        return list_shards(root, shards)
    tops = subfolders(root)
    if any(top.name.lower() in TRAIN_NAMES for top in tops):
        return list_xedu(root)
    named = [top for top in tops if top.name.lower() in SPLIT_NAMES]
    # Vehicles may have a class called "train": a split folder holds class folders, or all tops are splits.
    if named and (len(named) == len(tops) or any(subfolders(top) for top in named)):
        return _from_split_folders(root, tops, named)
    return _from_class_folders(root, tops)


def class_folders(root: Path, folder: Path) -> Found:
    """The class folders in ``folder``; pictures deeper inside a class folder belong to that class."""
    found = Found()
    for sub in subfolders(folder):
        name = nfc(sub.name)
        if name in found.classes:
            raise DataError(
                "two folders in {path} have one name, {name}, in different code points; merge them",
                path=folder,
                name=name,
            )
        inside = content(root, sub)
        found.classes.append(name)
        found.entries.extend((path, name) for path in inside.pictures)
        found.others.extend(inside.others)
    direct = content(root, folder, deep=False)
    found.loose = direct.pictures
    if folder != root:
        found.others.extend(direct.others)
    return found


def finish(
    root: Path,
    layout: str,
    found: Mapping[str, Found],
    *,
    notes: Iterable[str] = (),
) -> Listing:
    """Put the splits together and judge what concerns them all."""
    notes = list(notes)
    for split, part in found.items():
        if part.loose and part.entries:
            notes.append(
                tr(
                    "{split}: {n} pictures lie outside the class folders and are ignored",
                    split=split,
                    n=len(part.loose),
                )
            )
    entries = {
        split: sorted(part.entries, key=lambda entry: nfc(entry[0]))
        for split, part in found.items()
        if part.entries
    }
    if not entries.get("train"):
        raise DataError(
            "no pictures to train on in {path}; expected a sub-folder per class with .jpg or .png files",
            path=root,
        )
    classes = tuple(sorted({nfc(name) for part in found.values() for name in part.classes}))
    filled = {label for _, label in entries["train"]}
    problems = () if len(filled) > 1 else (_one_class(root, sorted(filled)[0]),)
    return Listing(
        layout=layout,
        entries=entries,
        classes=classes,
        notes=tuple(notes),
        problems=problems,
        empty=tuple(name for name in classes if name not in filled),
        others=tuple(name for part in found.values() for name in part.others),
        loose=tuple(name for part in found.values() for name in part.loose),
    )


def _from_class_folders(root: Path, tops: list[Path]) -> Listing:
    _refuse_unknown_splits(root, tops)
    found = class_folders(root, root)
    if found.loose and not found.entries:
        raise DataError(
            "the pictures lie directly in {path}; put those of each class into a sub-folder of its name",
            path=root,
        )
    return finish(root, "class folders", {"train": found})


def _refuse_unknown_splits(root: Path, tops: list[Path]) -> None:
    """Folders of folders with the same names are splits under names that nobody can guess."""
    if not tops or any(content(root, top, deep=False).pictures for top in tops):
        return
    inner = [{nfc(sub.name) for sub in subfolders(top)} for top in tops]
    if len(tops) == 1 and inner[0] and content(root, tops[0]).pictures:
        raise DataError("the pictures lie one folder deeper; give {path}", path=tops[0])
    if len(tops) > 1 and set.intersection(*inner):
        raise DataError(
            "the folders {names} in {path} look like splits; rename them to train, val and test",
            names=", ".join(top.name for top in tops),
            path=root,
        )


def _from_split_folders(root: Path, tops: list[Path], named: list[Path]) -> Listing:
    found: dict[str, Found] = {}
    notes = []
    for top in named:
        split = SPLIT_NAMES[top.name.lower()]
        if split in found:
            raise DataError(
                "{path} has two folders for the split {split}; keep one of them", path=root, split=split
            )
        found[split] = class_folders(root, top)
        if found[split].loose and not found[split].entries and split != "train":
            notes.append(
                tr(
                    "{split}: no class folders, so its {n} pictures have no labels and are ignored",
                    split=split,
                    n=len(found[split].loose),
                )
            )
    strangers = [top.name for top in tops if top not in named and content(root, top).pictures]
    if strangers:
        raise DataError(
            "{path} has the folder {names} beside {known}; a split is called train, val or test: "
            "rename it, or move it elsewhere",
            path=root,
            names=", ".join(strangers),
            known=", ".join(top.name for top in named),
        )
    if "train" not in found:
        raise DataError(
            "{path} has {known} but no folder train; call the folder with the training pictures train",
            path=root,
            known=", ".join(top.name for top in named),
        )
    if found["train"].loose and not found["train"].entries:
        raise DataError(
            "the pictures lie directly in {path}; put those of each class into a sub-folder of its name",
            path=root / next(top.name for top in named if SPLIT_NAMES[top.name.lower()] == "train"),
        )
    return finish(root, "split folders", found, notes=notes)


def _from_split_file(root: Path, split_file: Path) -> Listing:
    # The name is usually given relative to where one stands; inside the data set is the other likely place.
    source = split_file if split_file.is_file() or split_file.is_absolute() else root / split_file
    rows = read_split_file(source if source.is_file() else split_file)
    missing = [row.path for row in rows if not (root / row.path).is_file()]
    if missing:
        raise DataError(
            "{path} names {n} pictures that are not in {root}: {names}; paths are relative to that folder",
            path=split_file,
            n=len(missing),
            root=root,
            names=", ".join(missing[:5]),
        )
    found: dict[str, Found] = {}
    for row in rows:
        part = found.setdefault(row.split, Found())
        part.entries.append((row.path, row.label))
    for part in found.values():
        part.classes = sorted({label for _, label in part.entries})
    return finish(root, "split file", found)


def _from_idx(root: Path) -> Listing:
    pairs = {split: read_pair(files) for split, files in find_idx(root).items()}
    if "train" not in pairs:
        raise DataError(
            "{path} has idx files but no train-images-idx3-ubyte; fetch the training files as well", path=root
        )
    values = sorted({int(v) for _, labels in pairs.values() for v in np.unique(labels)})
    trained = {int(v) for v in np.unique(pairs["train"][1])}
    names, notes = _idx_names(root, values)
    index = np.zeros(256, np.int64)
    index[values] = np.arange(len(values))
    return Listing(
        layout="idx",
        entries={},
        classes=names,
        notes=notes,
        problems=() if len(trained) > 1 else (_one_class(root, names[0]),),
        empty=tuple(name for name, value in zip(names, values, strict=True) if value not in trained),
        images={split: images for split, (images, _) in pairs.items()},
        image_labels={split: index[labels] for split, (_, labels) in pairs.items()},
    )


def _idx_names(root: Path, values: list[int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """idx files know numbers only; ``classes.txt`` beside them may name number ``i`` in line ``i``."""
    numbers = tuple(str(value) for value in values)
    if not (root / "classes.txt").is_file():
        return numbers, ()
    lines = read_lines(root / "classes.txt")
    if len(lines) <= values[-1] or len(set(lines)) != len(lines):
        note = tr(
            "classes.txt has {n} different lines and the labels go up to {top}: it is ignored",
            n=len(set(lines)),
            top=values[-1],
        )
        return numbers, (note,)
    return tuple(lines[value] for value in values), ()


def _one_class(root: Path, name: str) -> DataError:
    return DataError(
        "{path} holds pictures of one class only ({name}); a classifier needs at least two classes",
        path=root,
        name=name,
    )
