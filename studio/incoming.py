"""What visitors send: zips and pictures, bounded and looked at before they become part of the workspace."""

from __future__ import annotations

import os
import secrets
import shutil
import zipfile
from pathlib import Path

from imago.edge_runtime.errors import DataError, InputError, StorageError
from imago.edge_runtime.imageio import SUFFIXES, read_image
from imago.studio.datasets import DataSet, find_set, free_name
from imago.studio.workspace import Workspace, plain, safe_name
from imago.train.data.fetch import unzip
from imago.train.data.listing import list_dataset
from imago.train.dataset import DataOptions

MAX_ZIP = 512_000_000  # bytes of the archive
MAX_UNPACKED = 2_000_000_000
MAX_RATIO, FREE_RATIO = 50, 50_000_000  # pictures are packed already; small archives may be anything
MAX_PICTURE, MAX_PIXELS = 32_000_000, 50_000_000
MAX_FILES = 20_000  # in one set
MAX_DEPTH = 4
LISTS = frozenset({".txt", ".csv"})
KEPT = 20  # pictures to look at
KEPT_FREE = 200_000_000  # bytes that an upload leaves on the disk


class Arriving:
    """A file on its way in: ``write`` its bytes, then hand ``path`` on; gone afterwards, whatever happens.

    Raises InputError beyond ``limit`` bytes, StorageError where the disk is (nearly) full.
    """

    def __init__(self, workspace: Workspace, limit: int) -> None:
        self.path = workspace.incoming / f"{secrets.token_hex(8)}.part"
        self._left, self._limit = limit, limit
        if shutil.disk_usage(workspace.incoming).free < KEPT_FREE:
            raise StorageError("the disk of {path} is nearly full; free some space", path=workspace.root)
        self._file = self.path.open("wb")

    def write(self, block: bytes) -> None:
        """Append."""
        self._left -= len(block)
        if self._left < 0:
            raise too_large(self._limit)
        try:
            self._file.write(block)
        except OSError as error:
            raise StorageError(
                "cannot write {path}: {reason}; free some space or choose another place",
                path=self.path.parent,
                reason=error.strerror or error,
            ) from error

    def close(self) -> None:
        """All is written."""
        self._file.close()

    def __enter__(self) -> Arriving:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


def too_large(limit: int) -> InputError:
    """The error for a file beyond its bound."""
    return InputError("this is too large: at most {mb} MB at once", mb=limit // 1_000_000)


def take_zip(workspace: Workspace, archive: Path, name: str) -> DataSet:
    """Unpack a zip into a new set; nothing is left of one that is refused.

    Raises DataError (damaged, a bomb, paths that leave the folder, no pictures in it).
    """
    _refuse_bomb(archive)
    place = workspace.incoming / f"{secrets.token_hex(8)}.set"
    try:
        unzip(archive, place, limit=MAX_UNPACKED, files=MAX_FILES)
        if not place.is_dir():
            raise DataError("there is nothing in this archive; expected one folder of pictures per class")
        root = _deepest(place)
        list_dataset(root, DataOptions())
        chosen = free_name(workspace, Path(name).stem or "pictures")
        root.rename(workspace.data / chosen)
    except DataError as error:
        raise _renamed(error, archive, place, name) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return find_set(workspace, chosen)


def _renamed(error: DataError, archive: Path, place: Path, name: str) -> DataError:
    """The message names what the visitor sent, not our temporary files."""
    values = {
        key: str(value).replace(str(place), name).replace(str(archive), name)
        for key, value in error.values.items()
    }
    return DataError(error.template, **values)


def _deepest(place: Path) -> Path:
    """Archives often hold folders in folders: go down while there is one folder and nothing else."""
    inside = [path for path in place.iterdir() if not path.name.startswith(".")]
    while len(inside) == 1 and inside[0].is_dir():
        below = [path for path in inside[0].iterdir() if not path.name.startswith(".")]
        if any(path.is_file() for path in below):
            break
        place, inside = inside[0], below
    return place


def _refuse_bomb(archive: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as zipped:
            unpacked = sum(info.file_size for info in zipped.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError("this is no zip archive, or it is damaged; pack the folder anew") from error
    packed = max(1, archive.stat().st_size)
    if unpacked > FREE_RATIO and unpacked > MAX_RATIO * packed:
        raise DataError(
            "this archive would unpack to {mb} MB, {times} times its size: no set of pictures does that",
            mb=unpacked // 1_000_000,
            times=unpacked // packed,
        )


def begin_set(workspace: Workspace, name: str) -> DataSet:
    """An empty set of its own."""
    chosen = free_name(workspace, name)
    (workspace.data / chosen).mkdir()
    return find_set(workspace, chosen)


def add_class(found: DataSet, name: str) -> None:
    """One more class folder in a set of the workspace."""
    _writable(found)
    (found.root / safe_name(name)).mkdir(exist_ok=True)


def take_file(workspace: Workspace, arrived: Path, name: str, path: str) -> Path:
    """Put one picture (or list) at ``path`` in the set ``name``; an existing file stays, the new one moves.

    Raises InputError for anything but a whole picture or a small text, and for full sets.
    """
    found = find_set(workspace, name)
    _writable(found)
    parts = [safe_name(part) for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    if not 1 <= len(parts) <= MAX_DEPTH:
        raise InputError("'{text}' is no name; use letters, digits and spaces", text=path[:60])
    target = found.root.joinpath(*parts)
    suffix = target.suffix.lower()
    if suffix in SUFFIXES:
        if arrived.stat().st_size > MAX_PICTURE:
            raise too_large(MAX_PICTURE)
        _whole_picture(arrived, parts[-1])
    elif suffix not in LISTS or arrived.stat().st_size > 4_000_000:
        raise InputError("{name} is neither a picture nor a list; it was left out", name=parts[-1])
    if _count(found.root) >= MAX_FILES:
        raise InputError("this set is full: at most {n} files", n=MAX_FILES)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.resolve().is_relative_to(found.root.resolve()):
        raise InputError("{path} is not in the workspace", path=path[:60])
    number, wanted = 1, target
    while target.exists():
        number += 1
        target = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
    arrived.replace(target)
    return target


def _whole_picture(path: Path, name: str) -> None:
    try:
        read_image(path, max_pixels=MAX_PIXELS)
    except InputError as error:
        values = {key: str(value).replace(str(path), name) for key, value in error.values.items()}
        raise InputError(error.template, **values) from error


def keep(workspace: Workspace, arrived: Path) -> str:
    """Keep one picture for a while, for a page to look at; the oldest go. Raises InputError."""
    _whole_picture(arrived, "picture")
    kept = sorted(workspace.incoming.glob("*.kept"), key=lambda path: path.stat().st_mtime)
    for old in kept[: max(0, len(kept) - KEPT + 1)]:
        old.unlink(missing_ok=True)
    name = secrets.token_hex(8)
    arrived.replace(workspace.incoming / f"{name}.kept")
    return name


def kept(workspace: Workspace, name: str) -> bytes:
    """The bytes of a kept picture. Raises InputError where it is gone."""
    try:
        return (workspace.incoming / f"{plain(name)}.kept").read_bytes()
    except OSError as error:
        raise InputError("this picture is gone; send it again") from error


def _writable(found: DataSet) -> None:
    if found.linked:
        raise InputError(
            "{name} lies outside the workspace and is not changed; copy it first", name=found.name
        )


def _count(root: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(root))
