"""Pictures that another cache entry holds already: where some were added, removed or moved to another
split, the others are copied instead of decoded.

A picture is known by the hash of its file and the geometry it was made for: the same file gives the same
pixels, whatever it is called and wherever it belongs.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.types import U8
from imago.train.data.digests import DIGEST_BYTES

META = "meta.json"  # of an entry
DIGESTS = "digests.bin"  # 16 bytes per picture, in the order of the pictures
ENTRIES = 16  # looked at, the newest first

OpenEntry = Callable[[Path, tuple[int, ...]], U8 | None]


@dataclass(frozen=True, eq=False)
class Known:
    """arrays: of other entries. source, row: int64 ``(n,)``, in which of them and where (−1: in none)."""

    arrays: tuple[U8, ...]
    source: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]

    def picture(self, index: int) -> U8 | None:
        """The pixels of picture ``index``, where an entry has them."""
        number = int(self.source[index])
        if number < 0:
            return None
        found: U8 = self.arrays[number][int(self.row[index])]
        return found


def known_pictures(
    base: Path, geometry: str, digests: npt.NDArray[np.uint8], shape: tuple[int, ...], open_entry: OpenEntry
) -> Known:
    """Look for pictures with these hashes, uint8 ``(n, 16)``, in the entries of ``base``.

    geometry: what decides the bytes besides the file; shape: ``(n, H, W, C)`` of what is to be built.
    """
    source, row = np.full(len(digests), -1, np.int64), np.full(len(digests), -1, np.int64)
    arrays: list[U8] = []
    for entry in _newest(base):
        if (source >= 0).all():
            break
        theirs = _digests_of(entry, geometry)
        if theirs is None:
            continue
        where = _positions(digests, theirs)
        new = (source < 0) & (where >= 0)
        images = open_entry(entry, (len(theirs), *shape[1:])) if new.any() else None
        if images is not None:
            source[new], row[new] = len(arrays), where[new]
            arrays.append(images)
    return Known(tuple(arrays), source, row)


def _newest(base: Path) -> list[Path]:
    found = []
    with contextlib.suppress(OSError), os.scandir(base) as listing:
        for item in listing:
            if item.is_dir(follow_symlinks=False) and not item.name.startswith("."):
                found.append((item.stat().st_mtime, Path(item.path)))
    return [path for _, path in sorted(found, reverse=True)[:ENTRIES]]


def _digests_of(entry: Path, geometry: str) -> npt.NDArray[np.uint8] | None:
    """uint8 ``(n, 16)``; None where the entry is of another geometry, or is not sound."""
    try:
        meta = json.loads((entry / META).read_text(encoding="utf-8"))
        if meta["geometry"] != geometry:
            return None
        data = np.fromfile(entry / DIGESTS, np.uint8)
        return data.reshape(meta["shape"][0], DIGEST_BYTES)
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _positions(wanted: npt.NDArray[np.uint8], among: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Where each row of ``wanted`` stands in ``among`` (−1: nowhere): by 8 bytes, then by all 16."""
    keys, mine = (np.ascontiguousarray(rows).view(np.uint64)[:, 0] for rows in (among, wanted))
    order = np.argsort(keys, kind="stable")
    at = np.minimum(np.searchsorted(keys, mine, sorter=order), len(keys) - 1)
    found = order[at]
    return np.where((among[found] == wanted).all(1), found, -1)
