"""The image file that the user has: plain, .xz or .zip, unpacked in bounded pieces."""

from __future__ import annotations

import hashlib
import lzma
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from imago.edge_runtime.errors import InputError, StorageError
from imago.edge_runtime.messages import tr

MAGIC = {
    "xz": b"\xfd7zXZ\0",
    "zip": b"PK\x03\x04",
    "gzip": b"\x1f\x8b",
    "bzip2": b"BZh",
    "zstd": b"\x28\xb5\x2f\xfd",
    "7z": b"7z\xbc\xaf\x27\x1c",
}
USABLE = ("", "xz", "zip")
MEGABYTE = 1_000_000
CHUNK = 4 << 20
PACKED_CHUNK = 1 << 20
MAX_MEMORY = 256 << 20  # for unpacking; xz -9 needs 65 MB
MAX_SIZE = 64 << 30
XZ_FOOTER = 12
MAX_XZ_INDEX = 16 << 20
SPARE = 64 << 20  # left free beside what is unpacked


@dataclass(frozen=True, slots=True)
class Source:
    """An image file. packing: "", "xz" or "zip". size: of the image in bytes; of an .xz only an estimate."""

    path: Path
    packing: str
    size: int

    def chunks(self) -> Iterator[bytes]:
        """The image in pieces of at most 4 MiB. Raises InputError where it is damaged or too large."""
        done = 0
        try:
            for piece in self._pieces():
                done += len(piece)
                if done > MAX_SIZE:
                    raise too_large(self.path)
                yield piece
        except (lzma.LZMAError, EOFError, zlib.error, RuntimeError, zipfile.BadZipFile) as error:
            raise damaged(self.path, done, error) from error
        if self.packing != "xz" and done != self.size:  # xz checks itself
            raise InputError(
                "{path} is cut short: {done} of {size} bytes; download it again",
                path=self.path,
                done=done,
                size=self.size,
            )

    def _pieces(self) -> Iterator[bytes]:
        if self.packing == "zip":
            with zipfile.ZipFile(self.path) as archive, archive.open(_image_in(archive, self.path)) as member:
                yield from iter(lambda: member.read(CHUNK), b"")
            return
        with self.path.open("rb") as file:
            if self.packing == "xz":
                yield from _unxz(file)
            else:
                yield from iter(lambda: file.read(CHUNK), b"")


def damaged(path: Path, done: int, reason: object) -> InputError:
    """The error for a packed file that does not unpack."""
    return InputError(
        "{path} is damaged or cut short (after {done} MB: {reason}); download it again",
        path=path,
        done=done // 1_000_000,
        reason=reason,
    )


def too_large(path: Path) -> InputError:
    """The error for what cannot be an SD card's image."""
    return InputError(
        "{path} holds more than {limit} GB; expected a Raspberry Pi OS Lite image (3 GB)",
        path=path,
        limit=MAX_SIZE >> 30,
    )


def open_source(path: Path) -> Source:
    """Look at the beginning of a file. Raises InputError where it cannot be an image."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
            length = file.seek(0, 2)
    except OSError as error:
        raise InputError("cannot read {path}: {reason}", path=path, reason=error.strerror or error) from error
    packing = next((name for name, magic in MAGIC.items() if head.startswith(magic)), "")
    if packing not in USABLE:
        raise InputError(
            "{path} is packed with {packing}; expected .img, .img.xz or .zip: unpack it first",
            path=path,
            packing=packing,
        )
    size = {"": lambda: length, "xz": lambda: _xz_size(path), "zip": lambda: _zip_size(path)}[packing]()
    if size > MAX_SIZE:
        raise too_large(path)
    return Source(path, packing, size)


def unpack(
    source: Source,
    target: Path,
    check: Callable[[bytes], object],
    tick: Callable[[int], None],
    *,
    digest: bool = False,
) -> str:
    """Write the image to ``target``, with holes for zeros; its SHA-256 where ``digest`` asks for it, else "".

    check: looks at the first piece before anything is written. tick: called with the bytes done.
    """
    room = shutil.disk_usage(target.parent).free
    if source.size + SPARE > room:
        raise StorageError(
            "{folder} has {free} MB free; unpacking {path} needs {need} MB: free some space, or choose "
            "another place",
            folder=target.parent,
            free=room // 1_000_000,
            path=source.path.name,
            need=(source.size + SPARE) // 1_000_000,
        )
    hasher, zeros = hashlib.sha256(), bytes(CHUNK)
    pieces = source.chunks()
    first = next(pieces, b"")
    check(first)
    with target.open("xb") as file:
        piece: bytes | None = first
        while piece:
            if digest:
                hasher.update(piece)
            if piece == zeros[: len(piece)]:
                file.seek(len(piece), 1)
            else:
                file.write(piece)
            tick(len(piece))
            piece = next(pieces, None)
        file.truncate()
    return hasher.hexdigest() if digest else ""


def file_digest(path: Path, tick: Callable[[int], None]) -> str:
    """SHA-256 of the file as it is, packed or not."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
            tick(len(piece))
    return digest.hexdigest()


def in_megabytes(advance: Callable[[int], None]) -> Callable[[int], None]:
    """A ``tick`` that is told of bytes and calls ``advance`` with whole megabytes, for a progress bar."""
    rest = 0

    def tick(count: int) -> None:
        nonlocal rest
        whole, rest = divmod(rest + count, MEGABYTE)
        if whole:
            advance(whole)

    return tick


def _image_in(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    images = [entry for entry in archive.infolist() if entry.filename.lower().endswith(".img")]
    if len(images) != 1:
        raise InputError("{path} holds {n} .img files; expected one", path=path, n=len(images))
    return images[0]


def _zip_size(path: Path) -> int:
    try:
        with zipfile.ZipFile(path) as archive:
            return _image_in(archive, path).file_size
    except zipfile.BadZipFile as error:
        raise damaged(path, 0, error) from error


def _unxz(file: IO[bytes]) -> Iterator[bytes]:
    """Like ``lzma.open``, with a bound on the memory that a file may ask for."""
    rest = file.read(PACKED_CHUNK)
    while rest := rest.lstrip(b"\0"):  # streams may follow each other, with zeros between
        decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_MEMORY)
        data = decoder.decompress(rest, CHUNK)
        while not decoder.eof:
            if data:
                yield data
            more = file.read(PACKED_CHUNK) if decoder.needs_input else b""
            if decoder.needs_input and not more:
                raise EOFError(tr("unexpected end"))
            data = decoder.decompress(more, CHUNK)
        yield data
        rest = decoder.unused_data + file.read(PACKED_CHUNK)


def _xz_size(path: Path) -> int:
    """Unpacked bytes by the file's own index (xz file format 1.2.1, sections 2.1.2 and 4); 0 where unclear.

    Only for the progress bar and for the check of free space: what is unpacked is counted again.
    """
    with path.open("rb") as file:
        end = file.seek(0, 2)
        file.seek(max(0, end - XZ_FOOTER))
        footer = file.read(XZ_FOOTER)
        if len(footer) < XZ_FOOTER or footer[-2:] != b"YZ":
            return 0  # padded, or cut short: unpacking will tell
        length = (int.from_bytes(footer[4:8], "little") + 1) * 4
        if length > min(MAX_XZ_INDEX, end - XZ_FOOTER):
            return 0
        file.seek(end - XZ_FOOTER - length)
        index = file.read(length)
    return _sum_of_index(index)


def _sum_of_index(index: bytes) -> int:
    place, total = 1, 0
    try:
        records, place = _number(index, place)
        for _ in range(records):
            _, place = _number(index, place)
            unpacked, place = _number(index, place)
            total += unpacked
    except IndexError:
        return 0
    return total


def _number(data: bytes, place: int) -> tuple[int, int]:
    """A number in 7 bits a byte, and the place behind it (section 1.2)."""
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if not byte & 0x80 or shift > 63:
            return value, place
