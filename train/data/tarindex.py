"""Where the files inside a tar archive lie: names, offsets and sizes, without unpacking anything.

POSIX ustar and pax, GNU long names and large sizes (what Python's ``tarfile`` writes and reads; the tests
hold this against it). Unlike ``tarfile`` it keeps nothing but what is asked for, so that archives with
hundreds of thousands of members are listed in seconds. Links, devices, folders and sparse files are passed
over.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from imago.edge_runtime.errors import DataError

BLOCK = 512
LONGEST = 1 << 20  # bytes of an extended header; real ones have hundreds
DIGITS = 20  # of a number in an extended header: 2⁶⁴ has so many
REGULAR = (b"0", b"\0", b"7")


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file in an archive: ``size`` bytes from ``offset`` on."""

    name: str
    offset: int
    size: int


@dataclass(slots=True)
class _Ahead:
    """What extended headers say about the member that follows."""

    fields: dict[str, str] = field(default_factory=dict)


def members(path: Path) -> Iterator[Member]:
    """The regular files of the archive ``path``, in its order. Raises DataError where it is damaged."""
    try:
        with path.open("rb", buffering=0) as file:
            yield from _members(file, path, file.seek(0, os.SEEK_END))
    except OSError as error:
        raise DataError(
            "cannot read {path}: {reason}; imago data check lists every file that is broken",
            path=path,
            reason=error.strerror or error,
        ) from error


def _members(file: io.FileIO, path: Path, length: int) -> Iterator[Member]:
    at, ahead = 0, _Ahead()
    while at + BLOCK <= length:
        file.seek(at)
        header = file.read(BLOCK)
        if not header.strip(b"\0"):
            return
        _require_header(header, path, at)
        kind, size, data = header[156:157], _number(header[124:136], path, at), at + BLOCK
        if kind not in (b"x", b"g", b"L", b"K"):
            size = int(ahead.fields.get("size", size))
        if size < 0 or data + size > length:
            raise _damaged(path, at)
        if kind in (b"x", b"L"):
            _read_ahead(kind, file.read(_bounded(size, path, at)), ahead, path, at)
        elif kind not in (b"g", b"K"):
            name = ahead.fields.get("path") or _name(header)
            sparse = any(key.startswith("GNU.sparse") for key in ahead.fields)
            if kind in REGULAR and not name.endswith("/") and not sparse:
                yield Member(name, data, size)
            ahead = _Ahead()
        at = data + -(-size // BLOCK) * BLOCK
    if at != length and length % BLOCK:
        raise _damaged(path, at)


def _require_header(header: bytes, path: Path, at: int) -> None:
    wanted = _number(header[148:156], path, at)
    if wanted != sum(header) - sum(header[148:156]) + 8 * 32:
        raise _damaged(path, at)


def _number(digits: bytes, path: Path, at: int) -> int:
    """Octal text, or GNU's binary form for what does not fit."""
    if digits[:1] == b"\x80":
        return int.from_bytes(digits[1:], "big")
    try:
        return int(digits.split(b"\0", 1)[0].strip() or b"0", 8)
    except ValueError as error:
        raise _damaged(path, at) from error


def _name(header: bytes) -> str:
    name = header[:100].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0":  # GNU's own magic has other things where the prefix would be
        prefix = header[345:500].split(b"\0", 1)[0]
        name = prefix + b"/" + name if prefix else name
    return name.decode("utf-8", "replace")


def _read_ahead(kind: bytes, data: bytes, ahead: _Ahead, path: Path, at: int) -> None:
    if kind == b"L":
        ahead.fields["path"] = data.split(b"\0", 1)[0].decode("utf-8", "replace")
        return
    while data.strip(b"\0"):  # "27 path=some/where.jpg\n", the length counting itself
        digits, _, _ = data.partition(b" ")
        length = int(digits) if _is_number(digits) else 0
        key, equals, value = data[len(digits) + 1 : max(0, length - 1)].partition(b"=")
        if not equals or length > len(data) or (key == b"size" and not _is_number(value)):
            raise _damaged(path, at)
        ahead.fields[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        data = data[length:]


def _is_number(digits: bytes) -> bool:
    return digits.isdigit() and len(digits) <= DIGITS


def _bounded(size: int, path: Path, at: int) -> int:
    if size > LONGEST:
        raise _damaged(path, at)
    return size


def _damaged(path: Path, at: int) -> DataError:
    return DataError(
        "{path} is not a whole tar file (trouble at byte {at}); copy it again, or make it again",
        path=path,
        at=at,
    )
