"""Content hashes of files, remembered by size and times, and the data set's fingerprint.

The fingerprint must be the same for every copy of a data set and change with every change of a picture;
so it is made of contents, not of modification times. Times only decide whether a file has to be read
again: as in git's index, a file that was changed a moment before it was read is not trusted the next
time, since a second change could hide behind the same time stamp.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.errors import DataError, StorageError
from imago.edge_runtime.files import replacing, write_text
from imago.edge_runtime.types import U8
from imago.train.data.folders import nfc
from imago.train.data.places import cache_root
from imago.train.data.shards import place_of

VERSION = 1
DIGEST_BYTES = 16
RACY_NS = 2_000_000_000  # FAT keeps times to two seconds
CHUNK = 64
Known = dict[str, list[Any]]


def file_digests(root: Path, paths: Sequence[str], *, memory: Path | None = None) -> list[bytes]:
    """Hash (16 bytes) of each file's content, in the order of ``paths``.

    memory: folder that remembers hashes between runs (default: ``files`` in the cache folder); where it
    cannot be written, everything is simply read again. Raises DataError for a file that cannot be read.
    """
    store = _memory_file(root, memory)
    known = _recall(store)
    chunks = [paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK)]
    now = time.time_ns()
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 2)) as pool:
        rows = [row for part in pool.map(lambda chunk: _rows(root, chunk, known), chunks) for row in part]
    fresh = {path: row for path, row in zip(paths, rows, strict=True) if max(row[1], row[2]) < now - RACY_NS}
    if any(known.get(path) != row for path, row in fresh.items()):
        with contextlib.suppress(StorageError):
            write_text(store, json.dumps({"version": VERSION, "files": {**known, **fresh}}))
    return [bytes.fromhex(row[3]) for row in rows]


def image_digests(images: U8) -> list[bytes]:
    """Hash of each picture of an array ``(n, …)``."""
    data, size = memoryview(images.tobytes()), images[0].size if len(images) else 0
    return [
        hashlib.blake2b(data[i * size : (i + 1) * size], digest_size=DIGEST_BYTES).digest()
        for i in range(len(images))
    ]


def remembered_mask(key: str, n: int, make: Callable[[], npt.NDArray[np.bool_]]) -> npt.NDArray[np.bool_]:
    """The mask ``(n,)`` that ``make`` gives, computed once per ``key`` and kept in the cache folder."""
    name = hashlib.sha256(f"{VERSION} {key}".encode()).hexdigest()[:24]
    store = cache_root() / "files" / f"{name}.mask"
    with contextlib.suppress(OSError):
        data = store.read_bytes()
        packed = np.frombuffer(data[4:], np.uint8)
        if len(packed) == (n + 7) // 8 and data[:4] == zlib.crc32(packed.data).to_bytes(4, "big"):
            return np.unpackbits(packed, count=n).astype(bool)
    mask = make()
    packed = np.packbits(mask)
    with contextlib.suppress(StorageError), replacing(store) as temporary:
        temporary.write_bytes(zlib.crc32(packed.data).to_bytes(4, "big") + packed.tobytes())
    return mask


def fingerprint(layout: str, classes: Iterable[str], rows: Iterable[tuple[str, int, str, bytes]]) -> str:
    """sha256 over layout, class names, and ``(split, label, path, content hash)`` of every picture."""
    total = hashlib.sha256(f"imago-data-{VERSION}\0{layout}\0".encode())
    total.update("\0".join(classes).encode() + b"\1")
    for split, label, path, digest in rows:
        total.update(f"{split}\0{label}\0{nfc(path)}\0".encode())
        total.update(digest)
    return total.hexdigest()


def _rows(root: Path, paths: Sequence[str], known: Known) -> list[list[Any]]:
    rows = []
    base = os.fspath(root)
    for path in paths:
        place = place_of(path)
        full = f"{base}/{path if place is None else place[0]}"
        try:
            stat = os.stat(full)  # noqa: PTH116 - thousands of times; a Path each would cost more than the call
            remembered = known.get(path)
            if remembered and remembered[:3] == [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]:
                rows.append(remembered)
                continue
            with open(full, "rb") as file:  # noqa: PTH123
                if place is None:
                    digest = hashlib.file_digest(file, _hasher).hexdigest()
                else:
                    file.seek(place[1])
                    digest = hashlib.blake2b(file.read(place[2]), digest_size=DIGEST_BYTES).hexdigest()
        except OSError as error:
            raise DataError(
                "cannot read {path}: {reason}; imago data check lists every file that is broken",
                path=full,
                reason=error.strerror or error,
            ) from error
        rows.append([stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, digest])
    return rows


def _hasher() -> Any:
    return hashlib.blake2b(digest_size=DIGEST_BYTES)


def _memory_file(root: Path, memory: Path | None) -> Path:
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:24]
    return (memory if memory is not None else cache_root() / "files") / f"{name}.json"


def _recall(store: Path) -> Known:
    """What was remembered; nothing where the file is missing, old or damaged."""
    try:
        data = json.loads(store.read_text(encoding="utf-8"))
        if data["version"] != VERSION:
            return {}
        files: Known = data["files"]
        good = all(len(row) == 4 and len(bytes.fromhex(row[3])) == DIGEST_BYTES for row in files.values())
        return files if good else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
