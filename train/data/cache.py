"""The decode-once cache: every picture of a split, preprocessed, as one memory-mapped uint8 array.

The key is made of what decides the bytes: the data set's fingerprint, the split, the input's geometry and
the version of the preprocessing. Nothing is ever updated in place: an entry is built under a temporary
name and renamed when it is complete, so a kill leaves no half entry under a trusted name and two builders
cannot disturb each other.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import shutil
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.blas import one_blas_thread
from imago.edge_runtime.errors import InputError, StorageError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.preprocess import PREPROCESS_VERSION
from imago.edge_runtime.progress import Progress
from imago.edge_runtime.spec import InputSpec
from imago.edge_runtime.types import U8, Frame
from imago.train.data.evict import evict
from imago.train.data.places import cache_root
from imago.train.data.reading import Failed, PictureReader, Streamed, cannot_decode, fitted
from imago.train.data.reuse import DIGESTS, META, known_pictures
from imago.train.dataset import Dataset, Split

CHUNK = 16  # pictures per task: enough to hide the cost of a task, few enough to spread evenly
QUOTA_BYTES = 20_000_000_000
IMAGES = "images.npy"


@dataclass(frozen=True, eq=False)
class CachedSplit:
    """One split, ready for training.

    images: uint8 ``(n, H, W, C)``, read-only memory map; or ``Streamed``, which looks like one to training.
    labels: int64 ``(n,)``, read-only.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


def open_cache(
    dataset: Dataset,
    split: str,
    spec: InputSpec,
    *,
    root: Path | None = None,
    workers: int | None = None,
    progress: bool = True,
    quota: int = QUOTA_BYTES,
    room: int | None = None,
) -> CachedSplit:
    """Open split ``split`` as arrays, decoding it first where that was not done before.

    A split that needs more than ``room`` bytes (default: ``quota``) is not cached: ``streams`` tells.

    root: cache folder (default ``IMAGO_CACHE`` or the system's). workers: decoding threads (default: one
    per core); the calling thread resizes. quota: bytes that the whole cache may
    take; the entries that were not used for longest make room.

    Raises DataError naming pictures that cannot be decoded, StorageError where the cache cannot be written.
    """
    if split not in dataset.splits:
        raise InputError(
            "there is no split {split} in {name}; it has {known}",
            split=split,
            name=dataset.name,
            known=", ".join(dataset.splits),
        )
    part = dataset.splits[split]
    shape = (len(part), spec.height, spec.width, spec.channels)
    labels = part.labels.view()
    labels.flags.writeable = False
    if not len(part):
        return CachedSplit(np.zeros(shape, np.uint8), labels)
    need = int(np.prod(shape, dtype=np.int64))
    if need > (quota if room is None else room):
        return CachedSplit(cast("U8", Streamed(dataset.root, part, spec, workers)), labels)
    base = (root if root is not None else cache_root() / "pictures").absolute()
    entry = base / cache_key(dataset, split, spec)
    images = _open(entry, shape)
    if images is None:
        evict(base, quota - need, keep=entry.name)
        with one_blas_thread():  # the threads are ours: one per core, each with its own pictures
            pictures = _read(dataset.root, part, spec, base, workers=workers, progress=progress)
            _build(entry, pictures, shape, geometry=geometry_of(spec), digests=part.digests)
        images = _open(entry, shape)
    if images is None:
        raise StorageError("the cache in {path} changes while it is read; try again", path=base)
    return CachedSplit(images, labels)


def streams(split: CachedSplit) -> bool:
    """Whether the pictures of ``split`` are decoded anew whenever they are asked for."""
    return isinstance(split.images, Streamed)


def open_caches(
    dataset: Dataset, splits: Sequence[str], spec: InputSpec, *, quota: int = QUOTA_BYTES
) -> dict[str, CachedSplit]:
    """``open_cache`` of several splits that share the quota; the first ones have the first claim."""
    left, opened = quota, {}
    for name in splits:
        opened[name] = open_cache(dataset, name, spec, quota=quota, room=left)
        if not streams(opened[name]):
            left -= opened[name].images.nbytes
    return opened


def cache_key(dataset: Dataset, split: str, spec: InputSpec) -> str:
    """Name of the cache entry: 32 hex digits."""
    parts = (dataset.fingerprint, split, geometry_of(spec))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def geometry_of(spec: InputSpec) -> str:
    """What decides a cached picture's bytes, besides its file."""
    how = (PREPROCESS_VERSION, spec.interpolation)
    geometry = (spec.width, spec.height, spec.channels, spec.color, spec.fit, spec.pad)
    return "\0".join(map(str, (*how, *geometry)))


def _open(entry: Path, shape: tuple[int, ...]) -> U8 | None:
    """The entry's array, or None where it is missing or not sound.

    Whatever touches a file changes its time stamp; so an untouched file is trusted at once, and the
    checksum is computed only for one that was copied, restored or written to.
    """
    try:
        meta = json.loads((entry / META).read_text(encoding="utf-8"))
        path = entry / IMAGES
        stat = path.stat()
        if stat.st_size != meta["bytes"]:
            return None
        if stat.st_mtime_ns != meta["mtime_ns"] and _crc(path) != meta["crc32"]:
            return None
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        if images.shape != shape or images.dtype != np.uint8:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    with contextlib.suppress(OSError):
        os.utime(entry)  # for the eviction: used now
    return np.asarray(images)


def _crc(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
    return value


def _build(
    entry: Path,
    pictures: Iterator[U8],
    shape: tuple[int, ...],
    *,
    geometry: str,
    digests: npt.NDArray[np.uint8] | None,
) -> None:
    """Write a whole entry under a temporary name, then rename it."""
    temporary = entry.with_name(f".build-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        temporary.mkdir(parents=True)
        if digests is not None:
            (temporary / DIGESTS).write_bytes(digests.tobytes())
        _write(temporary, pictures, shape, geometry)
        _publish(temporary, entry)
    except OSError as error:
        raise StorageError(
            "cannot write the picture cache in {path} ({need} MB): {reason}; free some space, "
            "or point IMAGO_CACHE to another disk",
            path=entry.parent,
            need=-(-int(np.prod(shape, dtype=np.int64)) // 1_000_000),
            reason=error.strerror or error,
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(folder: Path, pictures: Iterator[U8], shape: tuple[int, ...], geometry: str) -> None:
    # Plain writes, not a memory map: a full disk is then an error here and not a bus error later.
    path = folder / IMAGES
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    checksum = 0
    with path.open("wb") as file:
        for part in chain([header.getbuffer()], (block.data for block in pictures)):
            file.write(part)
            checksum = zlib.crc32(part, checksum)
        file.flush()
        os.fsync(file.fileno())
    stat = path.stat()
    meta = {
        "bytes": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "crc32": checksum,
        "shape": shape,
        "geometry": geometry,
    }
    with (folder / META).open("w", encoding="utf-8") as file:
        json.dump(meta, file)
        file.flush()
        os.fsync(file.fileno())


def _publish(temporary: Path, entry: Path) -> None:
    """Give a complete entry its name. An unsound one makes way; a sound one that came first stays."""
    for _ in range(3):
        try:
            temporary.rename(entry)
            return
        except OSError:
            if not entry.is_dir():
                raise
            shape = json.loads((temporary / META).read_text(encoding="utf-8"))["shape"]
            if _open(entry, tuple(shape)) is not None:
                return
            aside = entry.with_name(f".build-{os.getpid()}-{secrets.token_hex(4)}")
            try:
                entry.rename(aside)
            except FileNotFoundError:
                continue  # another builder moved it first
            shutil.rmtree(aside, ignore_errors=True)
    raise OSError(f"{entry} is busy")


Picture = Frame | U8 | Failed


def _decoding(reader: PictureReader, part: Split, spec: InputSpec, base: Path) -> Callable[[int], Picture]:
    """From an index to its pixels: another entry's, or decoded."""
    if part.digests is None:
        return reader.decode
    shape = (len(part), spec.height, spec.width, spec.channels)
    known = known_pictures(base, geometry_of(spec), part.digests, shape, _open)

    def decode(index: int) -> Picture:
        found = known.picture(index)
        return reader.decode(index) if found is None else found

    return decode


def _read(
    root: Path, part: Split, spec: InputSpec, base: Path, *, workers: int | None, progress: bool
) -> Iterator[U8]:
    """Blocks ``(k, H, W, C)`` in order; at most a few blocks wait in memory."""
    reader = PictureReader(root, part, spec)
    decode = _decoding(reader, part, spec, base)
    count = max(1, workers if workers is not None else os.cpu_count() or 1)
    failed: list[str] = []
    starts = deque(range(0, len(part), CHUNK))
    waiting: deque[Future[list[Picture]]] = deque()
    label = tr("decoding")
    with Progress(len(part), label) as bar, ThreadPoolExecutor(count) as pool:
        bar.enabled = bar.enabled and progress
        while starts or waiting:
            while starts and len(waiting) < 2 * count:
                start = starts.popleft()
                waiting.append(pool.submit(_chunk, decode, range(start, min(start + CHUNK, len(part)))))
            decoded = waiting.popleft().result()
            block = np.empty((len(decoded), spec.height, spec.width, spec.channels), np.uint8)
            failed += fitted(reader, decoded, block)
            bar.advance(len(decoded))
            if not failed:
                yield block
    if failed:
        raise cannot_decode(root, failed)


def _chunk(decode: Callable[[int], Picture], indices: range) -> list[Picture]:
    return [decode(index) for index in indices]
