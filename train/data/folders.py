"""What lies in a folder: pictures, other files, sub-folders, in an order that every system agrees on.

Directory order differs between file systems (and has put class names in the wrong order before), and
macOS hands out decomposed names; so names are compared in NFC, by code point, never as the system
lists them. Files that cameras, desktops and archives leave behind are not pictures.
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from imago.edge_runtime.errors import DataError
from imago.edge_runtime.imageio import SUFFIXES

PICTURE_SUFFIXES = SUFFIXES | {".jpe", ".jfif"}  # two names under which Windows saves a JPEG
# Pictures that the decoder does not read; `imago data check` names them, so that nobody wonders.
UNSUPPORTED_SUFFIXES = frozenset(
    {
        ".heic",
        ".heif",
        ".avif",
        ".jxl",
        ".jp2",
        ".svg",
        ".psd",
        ".dng",
        ".cr2",
        ".cr3",
        ".nef",
        ".arw",
        ".raw",
    }
)
# _to_label: what `imago events --retrain` leaves for people to sort.
NOISE = frozenset({"_to_label", "thumbs.db", "desktop.ini", "__macosx", "ehthumbs.db", "$recycle.bin"})


@dataclass(frozen=True)
class Content:
    """Files below one folder, as paths relative to the data set's root with ``/``, sorted."""

    pictures: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def nfc(text: str) -> str:
    """``text`` with every character in its composed form: ``e`` + accent and ``é`` are one name."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def is_noise(name: str) -> bool:
    """Hidden files, and what operating systems and archivers leave behind."""
    return name.startswith(".") or name.lower() in NOISE


def is_picture(name: str) -> bool:
    """By suffix; what is really inside, `imago data check` looks at."""
    return os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES  # noqa: PTH122 - Path is 5× slower here


def subfolders(folder: Path) -> list[Path]:
    """Visible sub-folders, sorted by NFC name."""
    found = [Path(entry.path) for entry in entries(folder) if entry.is_dir()]
    return sorted(found, key=lambda path: nfc(path.name))


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """Directory entries that are not noise. Raises DataError where the folder cannot be read."""
    try:
        with os.scandir(folder) as listing:
            found = [entry for entry in listing if not is_noise(entry.name)]
    except OSError as error:
        raise DataError(
            "cannot read the folder {path}: {reason}; check that it exists and that you may open it",
            path=folder,
            reason=error.strerror or error,
        ) from error
    for entry in found:
        if not _is_unicode(entry.name):
            raise DataError(
                "a name in {path} is not valid Unicode ({name}); rename that file or folder",
                path=folder,
                name=ascii(entry.name),
            )
    return found


def content(root: Path, folder: Path, *, deep: bool = True) -> Content:
    """All files below ``folder`` (only directly in it where not ``deep``)."""
    pictures: list[str] = []
    others: list[str] = []
    prefix = "" if folder == root else folder.relative_to(root).as_posix() + "/"
    _collect(folder, prefix, deep, pictures, others)
    return Content(tuple(sorted(pictures, key=nfc)), tuple(sorted(others, key=nfc)))


def _collect(folder: Path, prefix: str, deep: bool, pictures: list[str], others: list[str]) -> None:
    for entry in entries(folder):
        # A linked folder may lead back up: links are followed for files only.
        if entry.is_dir(follow_symlinks=False):
            if deep:
                _collect(Path(entry.path), f"{prefix}{entry.name}/", deep, pictures, others)
        elif entry.is_file():
            (pictures if is_picture(entry.name) else others).append(prefix + entry.name)


def _is_unicode(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
