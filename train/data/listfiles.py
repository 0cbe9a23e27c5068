"""Text files that say which picture belongs where: ``classes.txt``, ``val.txt``, a split CSV.

They come from Windows and from spreadsheets: byte-order marks, GBK, backslashes and blank lines are
taken in good part. Paths that would leave the data set are not.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from imago.edge_runtime.errors import DataError
from imago.train.data.folders import nfc

MAX_BYTES = 256 << 20
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Row:
    """One line of a split file."""

    path: str
    label: str
    split: str


def read_lines(path: Path) -> list[str]:
    """The non-blank lines, stripped, in NFC. Raises DataError where the file is no text."""
    return [nfc(line.strip()) for line in _decode(path).splitlines() if line.strip()]


def read_labels(path: Path) -> list[tuple[str, int | None]]:
    """Lines ``class/file.jpg 0``: safe path and class number (None where the line has none)."""
    pairs = []
    for line in (line.strip() for line in _decode(path).splitlines()):
        if not line:
            continue
        head, _, last = line.rpartition(" ")
        numbered = bool(head) and last.isascii() and last.isdigit() and len(last) < 10
        name = head if numbered else line
        pairs.append((safe_path(name.strip(), path), int(last) if numbered else None))
    return pairs


def read_split_file(path: Path) -> list[Row]:
    """Rows of a CSV with columns ``path``, ``class`` and ``split``; other columns are ignored."""
    reader = csv.DictReader(_decode(path).splitlines(), restkey="")
    missing = {"path", "class", "split"} - set(reader.fieldnames or ())
    if missing:
        raise DataError(
            "{path} has no column {columns}; its first line must name the columns path,class,split",
            path=path,
            columns=", ".join(sorted(missing)),
        )
    rows: dict[str, Row] = {}
    try:
        for raw in reader:
            row = _row(raw, path, reader.line_num)
            if row.path in rows:
                raise DataError(
                    "{path} line {line}: {name} is named twice; a picture has one class and one split",
                    path=path,
                    line=reader.line_num,
                    name=row.path,
                )
            rows[row.path] = row
    except csv.Error as error:
        raise DataError(
            "{path} line {line} is not CSV ({reason}); correct it",
            path=path,
            line=reader.line_num,
            reason=error,
        ) from error
    return list(rows.values())


def safe_path(name: str, source: Path) -> str:
    """``name`` with ``/`` as separator; raises DataError where it leaves the data set."""
    windows = PureWindowsPath(name)
    parts = [part for part in windows.parts if part != "."]
    if windows.drive or windows.root or ".." in parts or not parts or "\0" in name:
        raise DataError(
            "{path} names {name}, which leads out of the data set; paths must be relative to its folder",
            path=source,
            name=repr(name),
        )
    return "/".join(parts)


def _row(raw: dict[str, str], path: Path, line: int) -> Row:
    name, label, split = ((raw[column] or "").strip() for column in ("path", "class", "split"))
    if not name or not label:
        raise DataError("{path} line {line} has no path or no class; fill it in", path=path, line=line)
    if split.lower() not in SPLIT_NAMES:
        raise DataError(
            "{path} line {line}: split is {split}; write train, val or test",
            path=path,
            line=line,
            split=repr(split),
        )
    return Row(safe_path(name, path), nfc(label), SPLIT_NAMES[split.lower()])


def _decode(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(
                "{path} is too large for a list of pictures; check that it is the right file", path=path
            )
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            "cannot read {path}: {reason}; check the name and that you may open it",
            path=path,
            reason=error.strerror or error,
        ) from error
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    encodings = ("utf-16",) if wide else ("utf-8-sig", "gb18030")  # a Chinese Windows spreadsheet writes GBK
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise DataError("{path} is not a text file; save it as UTF-8", path=path)
