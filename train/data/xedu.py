"""The XEdu layout of the school lesson.

    training_set/CLASS/*.jpg   val_set/…   test_set/…   classes.txt   val.txt   test.txt ("CLASS/file.jpg 0")

``trainning_set`` is a spelling of its own documentation. Where ``val_set`` has class folders, they say what
a picture shows; ``val.txt`` is needed only where its pictures lie side by side. Known traps that are met
here: a classes.txt in directory order, backslashes, lists older than the folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imago.edge_runtime.errors import DataError
from imago.edge_runtime.messages import tr
from imago.train.data.folders import nfc, subfolders
from imago.train.data.listfiles import read_labels, read_lines
from imago.train.data.listing import Found, Listing, class_folders, finish

TRAIN_NAMES = frozenset({"training_set", "trainning_set", "train_set"})
HELD_NAMES = {"val_set": "val", "valid_set": "val", "test_set": "test"}


def list_xedu(root: Path) -> Listing:
    """List a data set in XEdu layout. Raises DataError."""
    folders: dict[str, Path] = {}
    for top in subfolders(root):
        lower = top.name.lower()
        split = "train" if lower in TRAIN_NAMES else HELD_NAMES.get(lower)
        if split is None:
            continue
        if split in folders:
            raise DataError(
                "{path} has two folders for the split {split}; keep one of them", path=root, split=split
            )
        folders[split] = top
    found = {"train": class_folders(root, folders["train"])}
    classes = sorted(found["train"].classes)
    order, notes = _class_list(root, classes)
    for split in ("val", "test"):
        if split in folders:
            found[split], more = _held(root, folders[split], split, order)
            notes += more
    return finish(root, "XEdu", found, notes=notes)


def _class_list(root: Path, classes: list[str]) -> tuple[list[str], list[str]]:
    """What the numbers in val.txt mean, and a note where classes.txt and folders disagree."""
    listed = read_lines(root / "classes.txt") if (root / "classes.txt").is_file() else []
    if not listed or listed == classes:
        return classes, []
    if sorted(listed) == classes:
        note = tr(
            "classes.txt is in another order; the classes are numbered in the order of their names: {names}",
            names=", ".join(classes),
        )
        return listed, [note]
    only_listed, only_there = sorted(set(listed) - set(classes)), sorted(set(classes) - set(listed))
    note = tr(
        "classes.txt and folders disagree (only listed: {listed}, only there: {there}); the folders count",
        listed=", ".join(only_listed) or "–",
        there=", ".join(only_there) or "–",
    )
    return listed, [note]


def _held(root: Path, folder: Path, split: str, order: Sequence[str]) -> tuple[Found, list[str]]:
    found = class_folders(root, folder)
    source = root / f"{split}.txt"
    if not source.is_file():
        if found.loose and not found.entries:
            note = tr(
                "{split}: no class folders, so its {n} pictures have no labels and are ignored",
                split=split,
                n=len(found.loose),
            )
            return found, [note]
        return found, []
    listed = {_below(path, folder): number for path, number in read_labels(source)}
    if found.entries:
        return found, _compare(found, listed, folder, source, order)
    return _from_list(folder, listed, source, order), []


def _below(path: str, folder: Path) -> str:
    """``val_set/ant/1.jpg`` and ``ant/1.jpg`` are the same picture."""
    return nfc(path.removeprefix(folder.name + "/"))


def _compare(
    found: Found, listed: dict[str, int | None], folder: Path, source: Path, order: Sequence[str]
) -> list[str]:
    there = {nfc(path.removeprefix(folder.name + "/")): label for path, label in found.entries}
    missing, unlisted = len(listed.keys() - there.keys()), len(there.keys() - listed.keys())
    wrong = sum(
        number is not None and there[path] != (order[number] if number < len(order) else None)
        for path, number in listed.items()
        if path in there
    )
    if not (missing or unlisted or wrong):
        return []
    note = tr(
        "{file} and the folders disagree ({missing} listed but not there, {unlisted} there but not listed, "
        "{wrong} with another class); the folders count",
        file=source.name,
        missing=missing,
        unlisted=unlisted,
        wrong=wrong,
    )
    return [note]


def _from_list(folder: Path, listed: dict[str, int | None], source: Path, order: Sequence[str]) -> Found:
    """Pictures that lie side by side, labelled by the numbers in the list."""
    on_disk = {nfc(path.name): path.name for path in folder.iterdir()}
    missing = [path for path in listed if path not in on_disk]
    if missing:
        raise DataError(
            "{path} names {n} pictures that are not in {root}: {names}; paths are relative to that folder",
            path=source,
            n=len(missing),
            root=folder,
            names=", ".join(missing[:5]),
        )
    entries = []
    for path, number in listed.items():
        if number is None or number >= len(order):
            raise DataError(
                "{path} gives {name} the class {number}; expected 0 to {top}, the line in classes.txt",
                path=source,
                name=path,
                number="–" if number is None else number,
                top=len(order) - 1,
            )
        entries.append((f"{folder.name}/{on_disk[path]}", order[number]))
    return Found(entries=entries, classes=sorted({label for _, label in entries}))
