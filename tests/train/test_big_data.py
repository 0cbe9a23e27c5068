"""More than the cache may take, more than fits in memory: streamed pictures, large indices, many classes."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from imago.edge_runtime.errors import DataError
from imago.edge_runtime.spec import InputSpec
from imago.train.ahead import ahead
from imago.train.augment import POLICIES
from imago.train.batches import Batches, Normalise
from imago.train.data.cache import open_cache, open_caches, streams
from imago.train.data.layouts import load_dataset
from imago.train.profiling import NO_CLOCK

from picture_support import class_folders
from run_support import same_weights
from support import imago

CPU = torch.device("cpu")
SPEC = InputSpec(24, 24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folders(tmp_path_factory.mktemp("data") / "photos", {"ant": 20, "bee": 25})


def test_streamed_pictures_are_those_of_the_cache(folder: Path, tmp_path: Path) -> None:
    data = load_dataset(folder)
    cached = open_cache(data, "train", SPEC, root=tmp_path, progress=False)
    streamed = open_cache(data, "train", SPEC, root=tmp_path / "other", quota=1000, progress=False)
    assert streams(streamed)
    assert not streams(cached)
    assert not (tmp_path / "other").exists()
    assert streamed.images.shape == cached.images.shape
    assert streamed.images.nbytes == cached.images.nbytes
    assert np.array_equal(streamed.images[3], cached.images[3])
    assert np.array_equal(streamed.images[-1], cached.images[-1])
    assert np.array_equal(streamed.images[5:9], cached.images[5:9])
    picked = np.array([7, 0, 7, 31])
    assert np.array_equal(streamed.images[picked], cached.images[picked])


def test_the_quota_is_shared_by_the_splits(folder: Path, tmp_path: Path) -> None:
    data = load_dataset(folder)
    one = 24 * 24 * 3
    room = one * (len(data.splits["train"]) + len(data.splits["val"]))
    opened = open_caches(data, ["train", "val", "test"], SPEC, quota=room)
    assert [streams(opened[name]) for name in ("train", "val", "test")] == [False, False, True]


@pytest.mark.parametrize("policy", ["none", "standard", "strong"])
def test_batches_of_streamed_pictures_are_the_same(folder: Path, tmp_path: Path, policy: str) -> None:
    data = load_dataset(folder)
    spec = InputSpec(48, 48)  # large enough for the path with threads
    got = []
    for quota in (10**9, 10):
        split = open_cache(data, "train", spec, root=tmp_path, quota=quota, progress=False)
        b = Batches(
            split.images,
            split.labels,
            Normalise((0.5,), (0.25,)),
            batch_size=10,
            device=CPU,
            policy=POLICIES[policy],
            seed=1,
        )
        got.append([(x.clone(), y.clone()) for x, y in b.epoch(1, start=1)])
    assert len(got[0]) == len(got[1]) > 1
    for (x, y), (other_x, other_y) in zip(*got, strict=True):
        assert torch.equal(x, other_x)
        assert torch.equal(y, other_y)


def test_parts_of_a_batch_are_the_whole(folder: Path, tmp_path: Path) -> None:
    split = open_cache(load_dataset(folder), "train", SPEC, root=tmp_path, progress=False)

    def epoch(rank: int, world: int) -> list[tuple[Tensor, Tensor]]:
        settings = {
            "batch_size": 10,
            "device": CPU,
            "policy": POLICIES["strong"],
            "rank": rank,
            "world": world,
        }
        b = Batches(split.images, split.labels, Normalise((0.5,), (0.25,)), **settings)  # type: ignore[arg-type]
        return [(x.clone(), y.clone()) for x, y in b.epoch(2)]

    parts = [epoch(rank, 3) for rank in range(3)]
    for number, (x, y) in enumerate(epoch(0, 1)):
        assert torch.equal(torch.cat([part[number][0] for part in parts]), x)
        assert torch.equal(torch.cat([part[number][1] for part in parts]), y)


def test_a_run_beyond_the_quota_is_the_same_run(folder: Path, tmp_path: Path) -> None:
    flags = ("--epochs", "2", "--batch-size", "16", "--threads", "1", "--seed", "3")
    runs = [tmp_path / "cached", tmp_path / "streamed"]
    for run, more in zip(runs, ([], ["--cache-quota", "1kB"]), strict=True):
        done = imago("train", str(folder), "--out", str(run), *flags, *more)
        assert done.returncode == 0, done.stderr
        assert ("decoded anew in every epoch" in done.stdout) == bool(more)
    assert same_weights(*runs)


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "photos", {"ant": 9, "bee": 9})
    data = load_dataset(root)
    bad = data.splits["train"].paths[2]
    (root / bad).write_bytes(b"not a picture")
    split = open_cache(data, "train", SPEC, root=tmp_path, quota=1, progress=False)
    with pytest.raises(DataError, match=bad):
        split.images[np.arange(5)]


def numbered(count: int, failing: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
    for number in range(count):
        yield torch.tensor([number]), torch.tensor([number])
    if failing:
        raise DataError("no more of {x}", x="this")


def test_ahead_keeps_order_hands_on_errors_and_ends() -> None:
    def running() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name == "imago-ahead"]

    assert [int(x) for x, _ in ahead(numbered(7), CPU, NO_CLOCK)] == list(range(7))
    with pytest.raises(DataError, match="no more of this"):
        list(ahead(numbered(3, failing=True), CPU, NO_CLOCK))
    left = ahead(numbered(1000), CPU, NO_CLOCK)
    assert int(next(left)[0]) == 0
    assert running()
    del left
    gc.collect()
    assert not running()


class Virtual:
    """A million pictures that are nowhere: their pixels say which one they are."""

    shape = (1_000_000, 2, 2, 3)
    nbytes = 12_000_000
    dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: np.ndarray) -> np.ndarray:
        numbers = np.asarray(key).astype("<u4").view(np.uint8).reshape(-1, 1, 1, 4)[..., :3]
        return np.ascontiguousarray(np.broadcast_to(numbers, (len(numbers), 2, 2, 3)))


def test_a_million_pictures_of_ten_thousand_classes() -> None:
    """Every picture once per epoch, each with its own label, from the first batch and from the last ones."""
    labels = np.arange(1_000_000) % 10_000
    b = Batches(Virtual(), labels, Normalise((0.0,), (1 / 255,)), batch_size=5000, device=CPU, seed=4)  # type: ignore[arg-type]
    seen = np.zeros(1_000_000, bool)
    for x, y in b.epoch(0):
        pixels = x[:, :, 0, 0].round().long()
        number = pixels[:, 0] + 256 * pixels[:, 1] + 65536 * pixels[:, 2]
        assert torch.equal(number % 10_000, y)
        assert not seen[number.numpy()].any()
        seen[number.numpy()] = True
    assert seen.all()
    tail = [y for _, y in b.epoch(0, start=len(b) - 2)]
    assert len(tail) == 2
