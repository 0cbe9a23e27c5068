"""The ``.imago`` file: a zip archive of one form only, byte for byte. Standard library only.

Manifest first, then the members in the order of their names; everything *stored* (compressed bytes differ
between versions of zlib, and model weights hardly shrink: 7 %), one fixed date, no extra fields, no
comments. So the manifest and the members' bytes alone make the archive again, which has three uses: the
same input gives the same file; a reader compares all that is not a member, and knows that nothing is
hidden; a board that was sent only the members that it lacks can still check the signature of the whole.
Format: PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16. Any unzip opens it.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from imago.edge_runtime.bundle.manifest import MANIFEST, MAX_MANIFEST, Manifest, damaged
from imago.edge_runtime.errors import BundleError
from imago.edge_runtime.files import replacing

if TYPE_CHECKING:
    import zipfile

CHUNK = 1 << 20
VERSION, UTF8, DATE = 20, 0x800, 0x0021  # zip 2.0; names are UTF-8; 1 January 1980
MADE_BY, MODE = 0x0314, 0o100644 << 16  # Unix, an ordinary file
LOCAL, CENTRAL, END = struct.Struct("<4s5H3L2H"), struct.Struct("<4s6H3L5H2L"), struct.Struct("<4s4H2LH")


def archive_bytes(manifest: Manifest, files: Mapping[str, Path]) -> Iterator[bytes]:
    """The whole archive in pieces. files: member → where its bytes are.

    Raises BundleError where a file is not the one that the manifest lists.
    """
    head = manifest.to_bytes()
    directory, offset = [], 0
    yield _local(MANIFEST, zlib.crc32(head), len(head)) + head
    directory.append(_central(MANIFEST, zlib.crc32(head), len(head), 0))
    offset = LOCAL.size + len(MANIFEST) + len(head)
    for name, member in sorted(manifest.members.items()):
        crc = _checked_crc(name, files[name], member.sha256, member.size)
        yield _local(name, crc, member.size)
        with files[name].open("rb") as file:
            while piece := file.read(CHUNK):
                yield piece
        directory.append(_central(name, crc, member.size, offset))
        offset += LOCAL.size + len(name.encode()) + member.size
    tail = b"".join(directory)
    yield tail + _end(len(directory), len(tail), offset)


def archive_size(manifest: Manifest) -> int:
    """Bytes of the archive that belongs to ``manifest``."""
    sizes = {MANIFEST: len(manifest.to_bytes()), **{n: m.size for n, m in manifest.members.items()}}
    return END.size + sum(
        LOCAL.size + CENTRAL.size + 2 * len(name.encode()) + size for name, size in sizes.items()
    )


def write_archive(target: Path, manifest: Manifest, files: Mapping[str, Path]) -> None:
    """Write the bundle; ``target`` appears whole or not at all."""
    with replacing(target) as temporary, temporary.open("wb") as out:
        for piece in archive_bytes(manifest, files):
            out.write(piece)


def read_manifest(path: Path) -> Manifest:
    """The manifest of the bundle (or unpacked bundle) at ``path``; the members are not looked at.

    Raises BundleError where it is none.
    """
    try:
        if path.is_dir():
            with (path / MANIFEST).open("rb") as file:
                return Manifest.from_bytes(file.read(MAX_MANIFEST + 1))
        with path.open("rb") as file, _open_zip(file) as archive:
            return _manifest(file, archive)
    except OSError as error:
        raise _unreadable(path, error) from error


def verify(path: Path) -> Manifest:
    """Read every byte of the bundle (or unpacked bundle) at ``path`` against its manifest.

    Raises BundleError where anything is missing, changed or too much.
    """
    manifest = read_manifest(path)
    for name, member in manifest.members.items():
        with _member(path, name) as file:
            if _digest(file, member.size) != member.sha256:
                raise damaged(f"{name}: SHA-256")
    return manifest


def unpack(path: Path, folder: Path) -> Manifest:
    """Unpack the bundle at ``path`` into the new ``folder``: whole and checked, or not at all."""
    manifest = read_manifest(path)
    with replacing(folder) as temporary:
        (temporary / "models").mkdir(parents=True)
        (temporary / MANIFEST).write_bytes(manifest.to_bytes())
        for name, member in manifest.members.items():
            with _member(path, name) as file, (temporary / name).open("wb") as out:
                if _digest(file, member.size, out) != member.sha256:
                    raise damaged(f"{name}: SHA-256")
    return manifest


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open_zip(file: BinaryIO) -> zipfile.ZipFile:
    import zipfile  # 2 MB of compression libraries that an unpacked bundle does not need

    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, struct.error) as error:
        raise damaged(str(error)) from error


def _manifest(file: BinaryIO, archive: zipfile.ZipFile) -> Manifest:
    """The manifest, once everything around the members has the one form that ``archive_bytes`` writes."""
    import zipfile

    entries = archive.infolist()
    first = entries[0] if entries else None
    plain = first is not None and first.filename == MANIFEST and first.compress_type == zipfile.ZIP_STORED
    if first is None or not plain or first.file_size > MAX_MANIFEST:
        raise damaged(f"{MANIFEST} is not its first member, or too large")
    try:
        manifest = Manifest.from_bytes(archive.read(first))
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        struct.error,
        UnicodeError,
    ) as error:
        raise damaged(str(error)) from error
    sizes = {MANIFEST: first.file_size, **{name: m.size for name, m in sorted(manifest.members.items())}}
    if [(e.filename, e.file_size) for e in entries] != list(sizes.items()):
        raise damaged("the members are not those that the manifest lists")
    if not _in_form(file, sizes, [entry.CRC for entry in entries]):
        raise damaged("not in the form that imago writes")
    return manifest


def _in_form(file: BinaryIO, sizes: Mapping[str, int], crcs: Sequence[int]) -> bool:
    """Whether headers and directory are the bytes that belong to these members, and nothing else is there."""
    offset, directory = 0, b""
    for (name, size), crc in zip(sizes.items(), crcs, strict=True):
        header = _local(name, crc, size)
        file.seek(offset)
        if file.read(len(header)) != header:
            return False
        directory += _central(name, crc, size, offset)
        offset += len(header) + size
    file.seek(offset)
    tail = directory + _end(len(sizes), len(directory), offset)
    return file.read(len(tail) + 1) == tail


@contextmanager
def _member(path: Path, name: str) -> Iterator[BinaryIO]:
    """One member of an archive or of an unpacked bundle, as a file."""
    if path.is_dir():
        if (path / name).is_symlink() or (path / name).parent.is_symlink():
            raise damaged(f"{name}: a link")
        if not (path / name).is_file():
            raise damaged(f"{name}: missing")
        with (path / name).open("rb") as plain:
            yield plain
        return
    import zipfile

    try:
        with path.open("rb") as raw, _open_zip(raw) as archive, archive.open(name) as stored:
            yield stored  # type: ignore[misc]
    except (zipfile.BadZipFile, EOFError, UnicodeError) as error:
        raise damaged(f"{name}: {error}") from error


def _digest(file: BinaryIO, size: int, out: BinaryIO | None = None) -> str:
    """SHA-256 of at most ``size`` bytes and whatever would follow; copied to ``out`` on the way."""
    digest, seen = hashlib.sha256(), 0
    while seen <= size and (piece := file.read(min(CHUNK, size + 1 - seen))):
        seen += len(piece)
        digest.update(piece)
        if out is not None:
            out.write(piece)
    return digest.hexdigest() if seen == size else ""


def _checked_crc(name: str, path: Path, sha256: str, size: int) -> int:
    digest, crc, seen = hashlib.sha256(), 0, 0
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
            crc, seen = zlib.crc32(piece, crc), seen + len(piece)
    if digest.hexdigest() != sha256 or seen != size:
        raise damaged(f"{name}: SHA-256")
    return crc


def _local(name: str, crc: int, size: int) -> bytes:
    raw = name.encode()
    return LOCAL.pack(b"PK\x03\x04", VERSION, UTF8, 0, 0, DATE, crc, size, size, len(raw), 0) + raw


def _central(name: str, crc: int, size: int, offset: int) -> bytes:
    raw = name.encode()
    return (
        CENTRAL.pack(
            b"PK\x01\x02",
            MADE_BY,
            VERSION,
            UTF8,
            0,
            0,
            DATE,
            crc,
            size,
            size,
            len(raw),
            0,
            0,
            0,
            0,
            MODE,
            offset,
        )
        + raw
    )


def _end(count: int, size: int, offset: int) -> bytes:
    return END.pack(b"PK\x05\x06", 0, 0, count, count, size, offset, 0)


def _unreadable(path: Path, error: OSError) -> BundleError:
    return BundleError("cannot read the bundle {path} ({reason})", path=path, reason=error.strerror or error)
