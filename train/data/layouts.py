"""From a folder on disk to a ``Dataset``: recognise the layout, split where nobody has, fingerprint.

Recognised, in this order: a split file; idx files; tar shards; the XEdu layout; train/val/test folders; plain
class folders. Class order is the code-point order of the NFC names, whatever a file or a file system says.
``listing.py`` finds what is there, without judging; here it becomes a data set or one clear error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.errors import DataError, InputError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.types import U8
from imago.train.data.digests import DIGEST_BYTES, file_digests, fingerprint, image_digests, remembered_mask
from imago.train.data.listing import Listing, list_dataset
from imago.train.data.splitting import hold_out
from imago.train.dataset import SPLITS, DataOptions, Dataset, Split

Labels = npt.NDArray[np.int64]


def load_dataset(root: Path, options: DataOptions = DataOptions()) -> Dataset:  # noqa: B008 - frozen
    """The data set in folder ``root``.

    Where there is no test split, one is made: ``val`` becomes ``test`` if it exists (pictures that chose the
    settings cannot also judge the result), else a part of the training pictures; validation is then held
    out of the training pictures. Splits made here are stratified and keep identical pictures together.
    Raises DataError (what is wrong and what to do) and InputError (options out of range).
    """
    root = Path(root)
    for name, value in (("val_fraction", options.val_fraction), ("test_fraction", options.test_fraction)):
        if not 0 < value < 1:
            raise InputError(
                "{name} is {value}; give a share between 0 and 1, such as 0.1", name=name, value=value
            )
    listing = list_dataset(root, options)
    if listing.problems:
        raise listing.problems[0]
    _refuse_empty_classes(listing)
    splits, notes, digests = assign(root, listing, options)
    return Dataset(
        root=root,
        layout=listing.layout,
        classes=listing.classes,
        splits=splits,
        fingerprint=_fingerprint(listing, splits, digests),
        generated=(root / "generated.json").is_file(),
        notes=(*listing.notes, *notes),
    )


def assign(
    root: Path, listing: Listing, options: DataOptions, digests: Mapping[str, bytes] | None = None
) -> tuple[dict[str, Split], list[str], Mapping[str, bytes]]:
    """The three splits, notes about what was decided, and the content hash of every path."""
    if listing.images is not None:
        images, labels = dict(listing.images), dict(listing.image_labels)
        notes = _complete_idx(images, labels, options)
        made = {name: Split(labels=labels[name], images=images[name]) for name in SPLITS if name in labels}
        return made, notes, {}
    if digests is None:
        paths = [path for entries in listing.entries.values() for path, _ in entries]
        digests = dict(zip(paths, file_digests(root, paths), strict=True))
    index = {name: i for i, name in enumerate(listing.classes)}
    pools = {
        split: [(path, index[label]) for path, label in entries]
        for split, entries in listing.entries.items()
        if entries
    }
    notes = _complete(pools, digests, options)
    splits = {
        name: Split(
            labels=np.array([i for _, i in pools[name]], np.int64),
            paths=tuple(p for p, _ in pools[name]),
            digests=np.frombuffer(b"".join(digests[p] for p, _ in pools[name]), np.uint8).reshape(
                -1, DIGEST_BYTES
            ),
        )
        for name in SPLITS
        if name in pools
    }
    return splits, notes, digests


def _complete(
    pools: dict[str, list[tuple[str, int]]], digests: Mapping[str, bytes], options: DataOptions
) -> list[str]:
    """Make the splits that are missing, in place."""

    def take(role: str, fraction: float, keep: int) -> None:
        pool = pools.get("train", [])
        mask = hold_out(
            [i for _, i in pool],
            [digests[p] for p, _ in pool],
            fraction,
            seed=options.split_seed,
            role=role,
            keep=keep,
        )
        pools["train"] = [item for item, out in zip(pool, mask, strict=True) if not out]
        pools[role] = [item for item, out in zip(pool, mask, strict=True) if out]

    return _make_missing(pools, take, options)


def _complete_idx(images: dict[str, U8], labels: dict[str, Labels], options: DataOptions) -> list[str]:
    def take(role: str, fraction: float, keep: int) -> None:
        pool, wanted = images["train"], labels["train"]
        content = hashlib.sha256(pool.data)
        content.update(wanted.data)
        mask = remembered_mask(  # half a second for MNIST, each time a command starts
            f"{content.hexdigest()} {fraction} {options.split_seed} {role} {keep}",
            len(wanted),
            lambda: hold_out(
                wanted.tolist(), image_digests(pool), fraction, seed=options.split_seed, role=role, keep=keep
            ),
        )
        images["train"], images[role] = pool[~mask], pool[mask]
        labels["train"], labels[role] = wanted[~mask], wanted[mask]

    if "test" not in labels and "val" in labels:
        images["test"] = images.pop("val")
    return _make_missing(labels, take, options)


def _make_missing(
    pools: dict[str, Any], take: Callable[[str, float, int], None], options: DataOptions
) -> list[str]:
    notes = []
    if "test" not in pools and "val" in pools:
        pools["test"] = pools.pop("val")
        notes.append(
            tr(
                "val is used as the test split, since there is no other: "
                "pictures that chose the settings cannot also judge the result"
            )
        )
    if "test" not in pools:
        take("test", options.test_fraction, 2)
        notes.append(
            tr(
                "test: {n} pictures held out of the training pictures (seed {seed})",
                n=len(pools["test"]),
                seed=options.split_seed,
            )
        )
    if "val" not in pools:
        take("val", options.val_fraction, 1)
        notes.append(
            tr(
                "validation: {n} pictures held out of the training pictures (seed {seed})",
                n=len(pools["val"]),
                seed=options.split_seed,
            )
        )
    return notes


def _refuse_empty_classes(listing: Listing) -> None:
    if listing.empty:
        raise DataError(
            "no pictures to train on for the class {names}; add some, or remove its folder",
            names=", ".join(listing.empty[:5]) + (" …" if len(listing.empty) > 5 else ""),
        )


def _fingerprint(listing: Listing, splits: Mapping[str, Split], digests: Mapping[str, bytes]) -> str:
    """Content, labels and membership of every picture: the same for a copy of the data in another place."""

    def rows() -> Iterator[tuple[str, int, str, bytes]]:
        for name, split in splits.items():
            if split.images is not None:
                total = hashlib.sha256(str(split.images.shape).encode())
                total.update(split.images.data)
                total.update(split.labels.data)
                yield name, len(split), "", total.digest()
            for path, label in zip(split.paths, split.labels.tolist(), strict=False):
                yield name, label, path, digests[path]

    return fingerprint(listing.layout, listing.classes, rows())
