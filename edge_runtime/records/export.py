"""Records for other programs: a CSV table, and a folder of pictures to train again on."""

from __future__ import annotations

import csv
import re
import shutil
import unicodedata
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TextIO

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.files import replacing
from imago.edge_runtime.records.query import Record

TO_LABEL = "_to_label"
FIELDS = (
    "id",
    "start",
    "end",
    "duration_s",
    "frames",
    "label",
    "confidence",
    "unknown",
    "wrong",
    "correction",
    "source",
    "model",
    "box",
    "crop",
)
RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


def iso(seconds: float) -> str:
    """Unix time as local time with its offset, ``2026-11-24T10:15:00.250+08:00``."""
    try:
        return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="milliseconds")
    except (OverflowError, OSError, ValueError):  # a clock that was never set
        return str(seconds)


def write_csv(records: Iterable[Record], stream: TextIO) -> int:
    """One line per event, with a line of names first; returns how many events.

    Text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    table = csv.writer(stream)
    table.writerow(FIELDS)
    count = 0
    for count, record in enumerate(records, 1):  # noqa: B007  how many there were
        row = record.to_dict()
        row.update(start=iso(record.event.start), end=iso(record.event.end))
        row["box"] = " ".join(map(str, row["box"] or ()))
        table.writerow([_cell(row[name]) for name in FIELDS])
    return count


def write_retraining(records: Iterable[Record], target: Path) -> dict[str, int]:
    """Copy crops to ``target``: a folder per class, and ``_to_label`` for wrong and unknown ones.

    Returns how many went where; events without a crop are passed over. ``target`` appears whole or not
    at all. Raises InputError where it holds something already, StorageError where it cannot be written.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError("{path} is there already; give a folder that is new or empty", path=target)
    counts: dict[str, int] = {}
    folders = _Folders()
    with replacing(target) as temporary:
        temporary.mkdir()
        for record in records:
            if record.crop is None:
                continue
            name = TO_LABEL if record.name is None else folders.name(record.name)
            (temporary / name).mkdir(exist_ok=True)
            try:
                shutil.copyfile(record.crop, temporary / name / record.crop.name)
            except FileNotFoundError:  # the quota took it between looking and copying
                continue
            counts[name] = counts.get(name, 0) + 1
        if not counts:
            raise InputError("none of these events has a crop any more; nothing to train on")
    return counts


class _Folders:
    """A folder name for every class name, whatever it holds: safe on every system, no two alike."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._taken = {TO_LABEL}

    def name(self, label: str) -> str:
        if label not in self._names:
            clean = unicodedata.normalize("NFC", label)
            clean = "".join(c if c.isprintable() and c not in '<>:"/\\|?*' else "_" for c in clean)
            clean = clean[:80].strip(" .") or "_"
            if RESERVED.fullmatch(clean):
                clean = f"_{clean}"
            name, number = clean, 2
            while name.casefold() in self._taken:
                name, number = f"{clean} {number}", number + 1
            self._taken.add(name.casefold())
            self._names[label] = name
        return self._names[label]


def _cell(value: object) -> object:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value
