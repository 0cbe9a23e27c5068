"""The data sets that people really have: counts as documented, splits honoured, caches exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imago.edge_runtime.spec import InputSpec
from imago.train.data.cache import open_cache
from imago.train.data.check import check_dataset
from imago.train.data.layouts import load_dataset
from imago.train.dataset import DataOptions

from support import need_data

pytestmark = pytest.mark.data


def test_insects10() -> None:
    dataset = load_dataset(need_data("insects10"))
    assert len(dataset.classes) == 10
    for split, per_class in (("train", 450), ("val", 50), ("test", 50)):
        assert np.bincount(dataset.splits[split].labels).tolist() == [per_class] * 10
    assert all(path.startswith("val/") for path in dataset.splits["test"].paths)


def test_mosquito6_split_file_is_honoured() -> None:
    root = need_data("mosquito6")
    dataset = load_dataset(root, DataOptions(split_file=root / "split.csv"))
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 1018,
        "val": 180,
        "test": 300,
    }
    assert dataset.notes == ()


def test_bugs7_is_split_three_ways() -> None:
    dataset = load_dataset(need_data("bugs7"))
    assert dataset.classes[0] == "ant"
    assert all(set(split.labels.tolist()) == set(range(7)) for split in dataset.splits.values())


def test_hymenoptera_placeholder_is_found() -> None:
    report = check_dataset(need_data("hymenoptera"), progress=False)
    assert report.counts["ants"]["test"] == 70
    assert {f.kind: f.files for f in report.findings}["animation"] == ("train/ants/imageNotFound.gif",)
    assert report.usable


def test_mnist(tmp_path: Path) -> None:
    dataset = load_dataset(need_data("mnist"))
    assert dataset.classes == tuple("0123456789")
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 54000,
        "val": 6000,
        "test": 10000,
    }
    cached = open_cache(dataset, "test", InputSpec(28, 28, 1, "gray"), root=tmp_path)
    images = dataset.splits["test"].images
    assert images is not None
    np.testing.assert_array_equal(cached.images[..., 0], images)  # at its own size, nothing changes
    assert cached.labels[:5].tolist() == [7, 2, 1, 0, 4]
