"""An image onto a card: written, forced onto it, and read back.

The first piece, which holds the partition table, is emptied first and written last: a card that was cut off
does not look like one that can be used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from imago.edge_runtime.errors import StorageError

CHUNK = 4 << 20
SYNC_EVERY = 16  # chunks: the bar shows what is on the card, not what is in memory
Tick = Callable[[int], None]


def write_card(image: Path, device: Path, tick: Tick) -> None:
    """Write and read back. tick: bytes done, over twice the image's size. Raises StorageError."""
    size = image.stat().st_size
    with image.open("rb", buffering=0) as source, _opened(device) as target:
        with _clear(device):
            os.pwrite(target, bytes(CHUNK), 0)
            for number, (place, piece) in enumerate(_pieces(source.fileno(), size), 1):
                if place:
                    _put(target, piece, place)
                if number % SYNC_EVERY == 0:
                    os.fsync(target)
                tick(len(piece))
            os.fsync(target)
        _compare(source.fileno(), target, size, device, tick)
        with _clear(device):
            first = os.pread(source.fileno(), CHUNK, 0)
            _put(target, first, 0)
            os.fsync(target)
            _forget(target)
            if os.pread(target, len(first), 0) != first:
                raise _differs(device, 0)


@contextmanager
def _opened(device: Path) -> Iterator[int]:
    """O_EXCL: the kernel itself refuses a disk that is mounted or otherwise held (open(2), block devices)."""
    with _clear(device):
        handle = os.open(device, os.O_RDWR | os.O_EXCL)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _clear(device: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise StorageError(
            "not allowed to write to {device}; run the same command with sudo, or write a file with --output",
            device=device,
        ) from error
    except OSError as error:
        raise StorageError(
            "writing to {device} failed: {reason}; the card is not usable now: try again, or take another "
            "one",
            device=device,
            reason=error.strerror or error,
        ) from error


def _pieces(handle: int, size: int) -> Iterator[tuple[int, bytes]]:
    for place in range(0, size, CHUNK):
        yield place, os.pread(handle, CHUNK, place)


def _put(handle: int, piece: bytes, place: int) -> None:
    view = memoryview(piece)
    while view:
        done = os.pwrite(handle, view, place)
        view, place = view[done:], place + done


def _compare(source: int, target: int, size: int, device: Path, tick: Tick) -> None:
    """Read back from the card, not from memory, all but the first piece."""
    _forget(target)
    for place, piece in _pieces(source, size):
        with _clear(device):
            if place and os.pread(target, len(piece), place) != piece:
                raise _differs(device, place)
        tick(len(piece))


def _forget(handle: int) -> None:
    """Drop what the kernel keeps of it, so that reading asks the card."""
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)


def _differs(device: Path, place: int) -> StorageError:
    return StorageError(
        "{device} does not hold what was written (at {place} MB): the card is worn out or a fake; take "
        "another one",
        device=device,
        place=place // 1_000_000,
    )
