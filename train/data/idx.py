"""The idx format of MNIST: big-endian header, then bytes; plain or gzip.

Magic ``00 00 08 <dimensions>`` (08 = unsigned byte), one 32-bit size per dimension, then the data in C
order; source: the description on the MNIST page by LeCun, Cortes and Burges. Nothing in a header is
believed: the sizes must fit the file, and a gzip file is never unpacked further than they say.
"""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from imago.edge_runtime.errors import DataError
from imago.edge_runtime.types import U8
from imago.train.data.folders import entries

MAX_BYTES = 2 << 30
MAX_SIDE = 4096
NAME = re.compile(r"(?:.*-)?(train|val|t10k|test)-(images|labels)[.-]idx([13])-ubyte(\.gz)?", re.IGNORECASE)
SPLIT = {"train": "train", "val": "val", "t10k": "test", "test": "test"}


@dataclass(frozen=True)
class IdxFiles:
    """The two files of one split."""

    images: Path
    labels: Path


def find_idx(root: Path) -> dict[str, IdxFiles]:
    """Split → files, for idx files in ``root`` or in its ``raw`` folder; empty where there are none.

    The unpacked file wins over its .gz. Raises DataError for half a pair, and for two sets in one folder.
    """
    for folder in (root, root / "raw"):
        found: dict[tuple[str, str], Path] = {}
        for entry in (
            sorted(entries(folder), key=lambda e: (e.name.lower().endswith(".gz"), e.name))
            if folder.is_dir()
            else ()
        ):
            match = NAME.fullmatch(entry.name)
            if match:
                _add(found, match, Path(entry.path))
        if found:
            return {split: _pair(found, split, folder) for split in sorted({split for split, _ in found})}
    return {}


def read_idx(path: Path, dimensions: int) -> U8:
    """Array of uint8 with so many ``dimensions``; raises DataError for anything that does not fit."""
    try:
        with path.open("rb") as raw:
            if path.suffix.lower() == ".gz":
                with gzip.GzipFile(fileobj=raw) as file:
                    return _read(path, file, dimensions, None)
            return _read(path, raw, dimensions, path.stat().st_size)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, str(error)) from error


def read_pair(files: IdxFiles) -> tuple[U8, U8]:
    """Pictures ``(n, H, W)`` and labels ``(n,)``, both uint8."""
    images, labels = read_idx(files.images, 3), read_idx(files.labels, 1)
    if len(images) != len(labels):
        raise DataError(
            "{images} holds {n} pictures and {labels} {m} labels; fetch both files again",
            images=files.images,
            n=len(images),
            labels=files.labels.name,
            m=len(labels),
        )
    return images, labels


def _read(path: Path, file: IO[bytes] | gzip.GzipFile, dimensions: int, length: int | None) -> U8:
    header = file.read(4 + 4 * dimensions)
    if header[:4] != bytes((0, 0, 8, dimensions)) or len(header) != 4 + 4 * dimensions:
        raise _damaged(path, f"magic {header[:4].hex() or '–'}, not 000008{dimensions:02}")
    shape = tuple(int(v) for v in np.frombuffer(header, ">u4", dimensions, 4))
    size = int(np.prod(shape, dtype=object))
    if not 0 < size <= MAX_BYTES or any(side > MAX_SIDE for side in shape[1:]):
        raise _damaged(path, f"size {'×'.join(map(str, shape))}")
    if length is not None and length != len(header) + size:
        raise _damaged(path, f"{length} bytes, not {len(header) + size}")
    data = file.read(size + 1)
    if len(data) != size:
        raise _damaged(path, f"{'more' if len(data) > size else 'fewer'} than {size} bytes of data")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _add(found: dict[tuple[str, str], Path], match: re.Match[str], path: Path) -> None:
    what, rank = match[2].lower(), match[3]
    if rank != {"images": "3", "labels": "1"}[what]:
        return
    key = (SPLIT[match[1].lower()], what)
    other = found.get(key)
    if other is not None and other.name.lower() != path.name.lower().removesuffix(".gz"):
        raise DataError(
            "{path} holds two idx sets ({a} and {b}); give each a folder of its own",
            path=path.parent,
            a=other.name,
            b=path.name,
        )
    found.setdefault(key, path)


def _pair(found: dict[tuple[str, str], Path], split: str, folder: Path) -> IdxFiles:
    images, labels = found.get((split, "images")), found.get((split, "labels"))
    if images is None or labels is None:
        raise DataError(
            "{path}: {name} has no partner; idx needs both …-images-idx3-ubyte and …-labels-idx1-ubyte",
            path=folder,
            name=(images or labels or folder).name,
        )
    return IdxFiles(images, labels)


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(
        "{path} is not a sound idx file ({reason}); fetch it again, for instance with imago data fetch mnist",
        path=path,
        reason=reason,
    )
