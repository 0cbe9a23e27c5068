"""A data set in tar shards, as WebDataset has it: ``train-000000.tar``, ``train-000001.tar`` …

The split is the beginning of a shard's name, or the folder it lies in (``train/``, ``val/``, ``test/``);
shards without either are one pool that imago splits itself. Files of one name but for the extension belong
together: ``0001.jpg`` is the picture, ``0001.cls`` (a number or a name) or ``0001.json`` (``{"label": …}``)
its class. Without them the class is the folder inside the archive, ``bee/0001.jpg``. Numbers are named by
``classes.txt`` beside the shards, line by line, where there is one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from imago.edge_runtime.errors import DataError
from imago.train.data.folders import entries, is_noise, is_picture, nfc, subfolders
from imago.train.data.listfiles import SPLIT_NAMES, read_lines
from imago.train.data.listing import Entry, Found, Listing, finish
from imago.train.data.shards import member_path
from imago.train.data.tarindex import Member, members

PACKED = (".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tar.zst")
LABELS = (".cls", ".json")
LONGEST_LABEL = 1 << 16  # bytes of a .cls or .json file
KEYS = ("label", "class", "cls")


def find_shards(root: Path) -> dict[str, list[str]]:
    """Tar files of each split, as sorted paths relative to ``root``; empty where there are none."""
    here = _tars(root)
    if here:
        return _by_name(root, here)
    found: dict[str, list[str]] = {}
    for top in subfolders(root):
        split = SPLIT_NAMES.get(top.name.lower())
        tars = _tars(top) if split is not None else []
        if split is not None and tars:
            found.setdefault(split, []).extend(f"{top.name}/{name}" for name in tars)
    return found


def list_shards(root: Path, shards: dict[str, list[str]]) -> Listing:
    """List the pictures in ``shards``. Raises DataError."""
    if "train" not in shards:
        raise DataError(
            "{path} has shards for {known} but none for train; name them train-000000.tar and so on",
            path=root,
            known=", ".join(shards),
        )
    names = read_lines(root / "classes.txt") if (root / "classes.txt").is_file() else []
    found: dict[str, Found] = {}
    for split, paths in shards.items():
        part = found[split] = Found()
        for path in paths:
            part.entries += _pictures(root, path, names, part)
        part.classes = sorted({label for _, label in part.entries})
    return finish(root, "tar shards", found)


def _tars(folder: Path) -> list[str]:
    names = sorted(entry.name for entry in entries(folder) if entry.is_file())
    plain = [name for name in names if name.lower().endswith(".tar")]
    packed = [name for name in names if name.lower().endswith(PACKED)]
    if packed and not plain and len(packed) == len(names):
        raise DataError(
            "{path} is compressed, and pictures in it cannot be read one by one; unpack it to a plain .tar",
            path=folder / packed[0],
        )
    return plain


def _by_name(root: Path, tars: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in tars:
        word = re.match(r"[A-Za-z]*", name)
        found.setdefault(SPLIT_NAMES.get(word[0].lower(), "") if word else "", []).append(name)
    strangers = found.pop("", [])
    if not found:
        return {"train": strangers}
    if strangers:
        raise DataError(
            "{path} has the shards {names} beside those of {known}; begin their names with train, val "
            "or test",
            path=root,
            names=", ".join(strangers[:5]),
            known=", ".join(found),
        )
    return found


def _pictures(root: Path, shard: str, names: list[str], part: Found) -> list[Entry]:
    pictures: list[tuple[str, Member]] = []
    labels: dict[str, str] = {}
    with (root / shard).open("rb") as file:
        for member in members(root / shard):
            parts = member.name.removeprefix("./").split("/")
            if ".." in parts or not parts[0]:
                raise DataError(
                    "{path} holds a file with a name that leads elsewhere ({name}); make the shard again",
                    path=root / shard,
                    name=ascii(member.name),
                )
            if any(is_noise(name) for name in parts):
                continue
            key = "/".join((*parts[:-1], parts[-1].split(".", 1)[0]))
            if is_picture(parts[-1]):
                pictures.append((key, member))
            elif parts[-1].lower().endswith(LABELS):
                file.seek(member.offset)
                text = file.read(min(member.size, LONGEST_LABEL))
                labels.setdefault(key, _label(text, parts[-1], names) or "")
            else:
                part.others.append(f"{shard}/{member.name}")
    return [_entry(root, shard, key, member, labels) for key, member in pictures]


def _entry(root: Path, shard: str, key: str, member: Member, labels: dict[str, str]) -> Entry:
    folder = key.rsplit("/", 2)[-2] if "/" in key else ""
    label = labels.get(key) or folder
    if not label:
        raise DataError(
            "{path}: the picture {name} has no class; put it into a folder of that name inside the archive, "
            "or a .cls file with the class beside it",
            path=root / shard,
            name=member.name,
        )
    # Offsets of one width: sorting by path is then reading in order.
    return member_path(shard, member.offset, member.size, member.name), nfc(label)


def _label(data: bytes, name: str, names: list[str]) -> str | None:
    """The class that a ``.cls`` or ``.json`` file names; None where it names none."""
    text: object = data.decode("utf-8", "replace").strip()
    if name.lower().endswith(".json"):
        try:
            facts = json.loads(data)
        except ValueError:
            return None
        text = next((facts[k] for k in KEYS if k in facts), None) if isinstance(facts, dict) else facts
    if isinstance(text, bool) or not isinstance(text, int | str):
        return None
    label = str(text)
    if label.isdigit() and int(label) < len(names):
        return names[int(label)]
    return label or None
