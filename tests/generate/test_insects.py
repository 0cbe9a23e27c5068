"""The embedded data set: the same everywhere for a seed, split without leaks, all or nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imago.edge_runtime.errors import InputError, StorageError
from imago.train.data.layouts import load_dataset
from imago.train.generate.insects import (
    CLASSES,
    DISPLAY_NAMES_ZH,
    contact_sheet,
    draw_insect,
    draw_photo,
    make_dataset,
    split_counts,
)
from imago.train.generate.pen import Pose

PER_CLASS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("generated") / "insects"
    make_dataset(out, per_class=PER_CLASS, size=48, seed=5, workers=1, progress=False)
    return out


def files(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_folders_classes_and_counts(folder: Path) -> None:
    for split, count in split_counts(PER_CLASS).items():
        assert sorted(p.name for p in (folder / split).iterdir()) == list(CLASSES)
        for kind in CLASSES:
            assert len(list((folder / split / kind).glob("*.jpg"))) == count
    with Image.open(folder / "train" / "bee" / "0000.jpg") as picture:
        assert (picture.size, picture.mode, picture.format) == ((48, 48), "RGB", "JPEG")


@pytest.mark.parametrize("per_class", [7, 20, 99, 200])
def test_split_counts_are_70_15_15_and_lose_nothing(per_class: int) -> None:
    counts = split_counts(per_class)
    assert sum(counts.values()) == per_class
    assert counts["val"] == counts["test"] > 0
    assert abs(counts["train"] / per_class - 0.7) < 0.08


def test_the_data_room_reads_it_and_knows_that_it_is_generated(folder: Path) -> None:
    dataset = load_dataset(folder)
    assert dataset.classes == CLASSES
    assert dataset.generated
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        name: count * len(CLASSES) for name, count in split_counts(PER_CLASS).items()
    }


def test_the_marker_says_how_it_was_made_and_carries_chinese_names(folder: Path) -> None:
    facts = json.loads((folder / "generated.json").read_text(encoding="utf-8"))
    assert (facts["generator"], facts["version"], facts["seed"]) == ("imago insects", 1, 5)
    assert facts["display_names"]["zh"] == DISPLAY_NAMES_ZH
    assert tuple(DISPLAY_NAMES_ZH) == CLASSES


def test_same_seed_same_bytes_whatever_the_workers(folder: Path, tmp_path: Path) -> None:
    make_dataset(tmp_path / "two", per_class=PER_CLASS, size=48, seed=5, workers=2, progress=False)
    assert files(tmp_path / "two") == files(folder)


def test_another_seed_gives_other_pictures(folder: Path, tmp_path: Path) -> None:
    make_dataset(tmp_path / "other", per_class=7, size=48, seed=6, workers=1, progress=False)
    mine, theirs = files(folder), files(tmp_path / "other")
    assert all(mine[name] != data for name, data in theirs.items() if name.endswith(".jpg"))


def test_no_picture_is_there_twice_within_or_across_splits(folder: Path) -> None:
    pixels = [np.asarray(Image.open(p)).tobytes() for p in folder.rglob("*.jpg")]
    assert len(pixels) == PER_CLASS * len(CLASSES)
    assert len(set(pixels)) == len(pixels)


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(StorageError, match="not empty"):
        make_dataset(tmp_path, per_class=7, size=32, progress=False)
    assert files(tmp_path) == {"mine.txt": b"precious"}


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "昆虫").mkdir()
    make_dataset(tmp_path / "昆虫", per_class=7, size=32, workers=1, progress=False)
    assert (tmp_path / "昆虫" / "generated.json").is_file()


def test_a_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("imago.train.generate.insects.write_json", full)
    with pytest.raises(StorageError, match="No space left"):
        make_dataset(tmp_path / "out", per_class=7, size=32, workers=1, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX only")
def test_a_kill_half_way_leaves_no_half_data_set(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    options = {"per_class": 5000, "size": 32, "workers": 1, "progress": False}
    process = context.Process(target=make_dataset, args=(tmp_path / "out",), kwargs=options)
    process.start()
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("*.jpg")) and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert list(tmp_path.rglob("*.jpg")), "it was killed before it drew anything"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", [{"per_class": 6}, {"size": 8}, {"size": 5000}, {"seed": -1}], ids=str)
def test_options_out_of_range_are_refused(wrong: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give"):
        make_dataset(tmp_path / "out", progress=False, **wrong)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", CLASSES)
def test_an_insect_stands_free_in_its_square(kind: str) -> None:
    for seed in range(8):
        insect = draw_insect(kind, np.random.default_rng(seed), 96)
        assert insect.shape == (96, 96, 4)
        assert insect.dtype == np.uint8
        covered = (insect[:, :, 3] > 128).mean()
        assert 0.03 < covered < 0.6
        border = np.concatenate([insect[0], insect[-1], insect[:, 0], insect[:, -1]])
        assert (border[:, 3] > 128).mean() < 0.1


@pytest.mark.parametrize("kind", CLASSES)
def test_the_same_animal_turns_with_its_pose(kind: str) -> None:
    """Heading and light turned together by a quarter turn the picture by a quarter, antialiasing aside."""
    here = Pose(heading=0.4, light=1.0, bend=0.1)
    there = Pose(heading=0.4 + np.pi / 2, light=1.0 + np.pi / 2, bend=0.1)
    a = draw_insect(kind, np.random.default_rng(3), 128, here)[:, :, 3].astype(float)
    b = draw_insect(kind, np.random.default_rng(3), 128, there)[:, :, 3].astype(float)
    assert np.abs(np.rot90(a) - b).mean() < 0.15 * a.mean()


def test_a_photo_is_rgb_and_follows_from_its_seed_alone() -> None:
    photo = draw_photo("bee", np.random.default_rng(1), 64)
    assert photo.shape == (64, 64, 3)
    assert photo.dtype == np.uint8
    assert np.array_equal(photo, draw_photo("bee", np.random.default_rng(1), 64))
    assert not np.array_equal(photo, draw_photo("bee", np.random.default_rng(2), 64))


def test_a_class_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"'spider'.*ladybird"):
        draw_insect("spider", np.random.default_rng(0), 64)


def test_contact_sheet(tmp_path: Path) -> None:
    contact_sheet(tmp_path / "sheet.png", columns=3, size=32)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (96, 32 * len(CLASSES))
