"""Every layout that people have, and one clear line for everything that is none."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imago.edge_runtime.errors import DataError, InputError
from imago.train.data.layouts import load_dataset
from imago.train.dataset import DataOptions, Dataset

from picture_support import class_folders, idx_set, save


def sizes(dataset: Dataset) -> dict[str, int]:
    return {name: len(split) for name, split in dataset.splits.items()}


def labelled(dataset: Dataset, split: str) -> dict[str, str]:
    part = dataset.splits[split]
    return {path: dataset.classes[label] for path, label in zip(part.paths, part.labels, strict=True)}


def test_class_folders_are_split_three_ways(tmp_path: Path) -> None:
    dataset = load_dataset(class_folders(tmp_path / "d", {"bee": 20, "ant": 40, "Wasp": 4}))
    assert dataset.layout == "class folders"
    assert dataset.classes == ("Wasp", "ant", "bee")  # code points: capitals come first, everywhere
    assert sizes(dataset) == {"train": 64 - 10 - 6, "val": 6, "test": 10}
    for split in dataset.splits.values():
        assert set(split.labels.tolist()) == {0, 1, 2}
        assert split.labels.dtype == np.int64
    everything = [path for split in dataset.splits.values() for path in split.paths]
    assert len(set(everything)) == 64
    assert len(dataset.notes) == 2
    assert not dataset.generated


def test_names_beyond_ascii_and_in_either_normal_form(tmp_path: Path) -> None:
    composed, decomposed = "abeille é", unicodedata.normalize("NFD", "fourmi é")
    root = class_folders(tmp_path / "照片 集", {"蜜蜂": 5, composed: 5, decomposed: 5, "🐞": 5})
    dataset = load_dataset(root)
    assert dataset.classes == ("abeille é", "fourmi é", "蜜蜂", "🐞")
    for split in dataset.splits.values():
        assert all((root / path).is_file() for path in split.paths)


def test_what_desktops_leave_behind_is_no_picture(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "d", {"ant": 5, "bee": 5})
    for name in (
        ".DS_Store",
        "Thumbs.db",
        "ant/._000.png",
        "ant/.hidden.jpg",
        "bee/readme.txt",
        "bee/Thumbs.db",
    ):
        (root / name).write_bytes(b"x")
    save(root / "__MACOSX" / "ant" / "0.png", 99)
    save(root / ".cache" / "0.png", 98)
    dataset = load_dataset(root)
    assert dataset.classes == ("ant", "bee")
    assert sum(sizes(dataset).values()) == 10


def test_pictures_in_sub_folders_belong_to_their_class(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "d", {"ant": 5, "bee": 5})
    save(root / "ant" / "2026" / "may" / "x.JPG", 50)
    dataset = load_dataset(root)
    found = {**labelled(dataset, "train"), **labelled(dataset, "val"), **labelled(dataset, "test")}
    assert found["ant/2026/may/x.JPG"] == "ant"


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("training", "validation", "testing"), ("Train", "Valid", "TEST")]
)
def test_split_folders(tmp_path: Path, names: tuple[str, str, str]) -> None:
    for i, (name, count) in enumerate(zip(names, (10, 4, 3), strict=True)):
        class_folders(tmp_path / "d" / name, {"ant": count, "bee": count}, first_seed=100 * i)
    dataset = load_dataset(tmp_path / "d")
    assert dataset.layout == "split folders"
    assert sizes(dataset) == {"train": 20, "val": 8, "test": 6}
    assert dataset.notes == ()


def test_val_becomes_test_where_there_is_none(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"ant": 20, "bee": 20})
    class_folders(tmp_path / "val", {"ant": 4, "bee": 4}, first_seed=100)
    dataset = load_dataset(tmp_path)
    assert sizes(dataset) == {"train": 36, "val": 4, "test": 8}
    assert all(path.startswith("val/") for path in dataset.splits["test"].paths)
    assert all(path.startswith("train/") for path in dataset.splits["val"].paths)
    assert "val is used as the test split" in dataset.notes[0]


def test_train_and_test_only(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"ant": 20, "bee": 20})
    class_folders(tmp_path / "test", {"ant": 4, "bee": 4}, first_seed=100)
    assert sizes(load_dataset(tmp_path)) == {"train": 36, "val": 4, "test": 8}


def test_a_test_folder_without_labels_is_left_out(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"ant": 20, "bee": 20})
    save(tmp_path / "test" / "1.png", 1000)
    dataset = load_dataset(tmp_path)
    assert len(dataset.splits["test"]) == 6
    assert "no class folders" in dataset.notes[0]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    dataset = load_dataset(class_folders(tmp_path / "vehicles", {"bus": 5, "car": 5, "train": 5}))
    assert dataset.classes == ("bus", "car", "train")


def xedu(root: Path, train: str = "training_set") -> Path:
    class_folders(root / train, {"ant": 6, "bee": 6})
    class_folders(root / "val_set", {"ant": 2, "bee": 2}, first_seed=100)
    class_folders(root / "test_set", {"ant": 3, "bee": 3}, first_seed=200)
    (root / "classes.txt").write_text("ant\nbee\n", encoding="utf-8")
    (root / "val.txt").write_text(
        "ant/000.png 0\nant/001.png 0\nbee/000.png 1\nbee/001.png 1\n", encoding="utf-8"
    )
    return root


@pytest.mark.parametrize("train", ["training_set", "trainning_set"])
def test_xedu(tmp_path: Path, train: str) -> None:
    dataset = load_dataset(xedu(tmp_path, train))
    assert dataset.layout == "XEdu"
    assert sizes(dataset) == {"train": 12, "val": 4, "test": 6}
    assert dataset.notes == ()


def test_xedu_class_list_in_another_order_does_not_count(tmp_path: Path) -> None:
    root = xedu(tmp_path)
    (root / "classes.txt").write_bytes("\ufeffbee\r\nant\r\n".encode())
    (root / "val.txt").write_bytes(
        b"ant\\000.png 1\r\nant\\001.png 1\r\nbee\\000.png 0\r\nbee\\001.png 0\r\n"
    )
    dataset = load_dataset(root)
    assert dataset.classes == ("ant", "bee")
    assert labelled(dataset, "val")["val_set/ant/000.png"] == "ant"
    assert len(dataset.notes) == 1
    assert "another order" in dataset.notes[0]


def test_xedu_list_that_disagrees_with_the_folders(tmp_path: Path) -> None:
    root = xedu(tmp_path)
    (root / "val.txt").write_text("ant/000.png 1\nant/gone.png 0\n", encoding="utf-8")
    dataset = load_dataset(root)
    assert sizes(dataset)["val"] == 4
    assert "1 listed but not there, 3 there but not listed, 1 with another class" in dataset.notes[0]


def test_xedu_flat_validation_pictures_take_their_class_from_the_list(tmp_path: Path) -> None:
    root = tmp_path
    class_folders(root / "training_set", {"蜜蜂": 6, "ant": 6})
    for name, seed in (("a 1.png", 100), ("b.png", 101), ("c.png", 102)):
        save(root / "val_set" / name, seed)
    (root / "classes.txt").write_bytes(
        "蜜蜂\r\nant\r\n".encode("gbk")
    )  # as a Chinese Windows editor saves it
    (root / "val.txt").write_text("a 1.png 0\nval_set\\b.png 1\n", encoding="utf-8")
    (root / "test.txt").write_text("", encoding="utf-8")
    dataset = load_dataset(root)
    assert labelled(dataset, "test") == {"val_set/a 1.png": "蜜蜂", "val_set/b.png": "ant"}


def split_csv(root: Path, text: str) -> DataOptions:
    root.mkdir(parents=True, exist_ok=True)
    (root / "split.csv").write_text(text, encoding="utf-8")
    return DataOptions(split_file=root / "split.csv")


def test_split_file_overrides_folders(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "d", {"ant": 3, "bee": 3})
    options = split_csv(
        root,
        "path,class,block,split\nant/000.png,Ameise,1,train\nbee\\000.png,Biene,1,training\n"
        "ant/001.png,Ameise,2,val\nbee/001.png,Biene,2,valid\nant/002.png,Ameise,3,test\n",
    )
    dataset = load_dataset(root, options)
    assert dataset.layout == "split file"
    assert dataset.classes == ("Ameise", "Biene")
    assert sizes(dataset) == {"train": 2, "val": 2, "test": 1}
    inside = load_dataset(root, DataOptions(split_file=Path("split.csv")))  # found in the set's own folder
    assert inside.fingerprint == dataset.fingerprint


def test_idx(tmp_path: Path) -> None:
    dataset = load_dataset(idx_set(tmp_path, {"train": 60, "t10k": 12}, classes=(0, 4, 9)))
    assert dataset.layout == "idx"
    assert dataset.classes == ("0", "4", "9")
    assert sizes(dataset) == {"train": 54, "val": 6, "test": 12}
    test = dataset.splits["test"]
    assert test.images is not None
    assert test.images.shape == (12, 7, 5)
    assert set(test.labels.tolist()) == {0, 1, 2}


def test_idx_unpacked_with_dots_and_class_names(tmp_path: Path) -> None:
    root = idx_set(tmp_path, {"train": 60, "t10k": 12}, packed=False)
    (root / "train-images-idx3-ubyte").rename(root / "train-images.idx3-ubyte")
    (root / "classes.txt").write_text("zero\none\ntwo\n", encoding="utf-8")
    assert load_dataset(root).classes == ("zero", "one", "two")


def test_idx_split_is_the_same_with_and_without_its_memory(tmp_path: Path) -> None:
    root = idx_set(tmp_path / "d", {"train": 90})
    first = load_dataset(root)
    store, *_ = (Path(os.environ["IMAGO_CACHE"]) / "files").glob("*.mask")
    assert load_dataset(root).fingerprint == first.fingerprint
    for damage in (b"", b"x" * store.stat().st_size, store.read_bytes()[:-1]):
        store.write_bytes(damage)
        assert load_dataset(root).fingerprint == first.fingerprint
    assert load_dataset(root, DataOptions(split_seed=1)).fingerprint != first.fingerprint


def test_generated_sets_say_so(tmp_path: Path) -> None:
    root = class_folders(tmp_path, {"ant": 5, "bee": 5})
    (root / "generated.json").write_text('{"generator": "insects"}', encoding="utf-8")
    assert load_dataset(root).generated


def test_fingerprint_is_of_the_content_alone(tmp_path: Path) -> None:
    first = class_folders(tmp_path / "a", {"ant": 6, "bee": 6})
    before = load_dataset(first)
    shutil.copytree(first, tmp_path / "elsewhere" / "b", copy_function=shutil.copyfile)
    os.utime(first / "ant" / "000.png", ns=(1, 1))
    assert load_dataset(first).fingerprint == before.fingerprint
    copied = load_dataset(tmp_path / "elsewhere" / "b")
    assert copied.fingerprint == before.fingerprint
    assert copied.splits["test"].paths == before.splits["test"].paths


@pytest.mark.parametrize(
    "change",
    [
        lambda root: save(root / "ant" / "000.png", 77),
        lambda root: save(root / "ant" / "new.png", 77),
        lambda root: (root / "ant" / "000.png").unlink(),
        lambda root: (root / "ant" / "000.png").rename(root / "bee" / "x.png"),
        lambda root: (root / "ant").rename(root / "wasp"),
    ],
)
def test_fingerprint_changes_with_the_data(tmp_path: Path, change: Callable[[Path], object]) -> None:
    root = class_folders(tmp_path / "d", {"ant": 6, "bee": 6})
    before = load_dataset(root).fingerprint
    change(root)
    assert load_dataset(root).fingerprint != before


def test_a_change_that_hides_behind_size_and_time_is_seen(tmp_path: Path) -> None:
    """Same size, same mtime, rewritten at once: what git calls racy."""
    root = class_folders(tmp_path / "d", {"ant": 6, "bee": 6}, suffix=".bmp")
    before = load_dataset(root).fingerprint
    file = root / "ant" / "000.bmp"
    stat = file.stat()
    save(file, 77)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert file.stat().st_size == stat.st_size
    assert load_dataset(root).fingerprint != before


def test_split_seed_and_fractions_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "d", {"ant": 30, "bee": 30})
    prints = {
        load_dataset(root, options).fingerprint
        for options in (DataOptions(), DataOptions(split_seed=1), DataOptions(val_fraction=0.3))
    }
    assert len(prints) == 3


def _mkdir(root: Path) -> None:
    root.mkdir()


def _flat(root: Path) -> None:
    save(root / "a.png", 1)


def _flat_train(root: Path) -> None:
    save(root / "train" / "a.png", 1)
    save(root / "val" / "b.png", 2)


def _no_train(root: Path) -> None:
    class_folders(root / "test", {"ant": 3, "bee": 3})


def _two_vals(root: Path) -> None:
    for name in ("train", "val", "valid"):
        class_folders(root / name, {"ant": 3, "bee": 3})


def _misspelt(root: Path) -> None:
    for name in ("trian", "tset"):
        class_folders(root / name, {"ant": 3, "bee": 3})


def _stranger(root: Path) -> None:
    for name in ("train", "holdout"):
        class_folders(root / name, {"ant": 3, "bee": 3})


def _empty_class(root: Path) -> None:
    class_folders(root, {"ant": 3, "bee": 3, "wasp": 0})


def _only_in_test(root: Path) -> None:
    class_folders(root / "train", {"ant": 3, "bee": 3})
    class_folders(root / "test", {"ant": 3, "wasp": 3})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "there is no folder"),
        (lambda root: root.write_bytes(b"PK"), "is a file; unpack it"),
        (_mkdir, "no pictures to train on"),
        (_flat, "the pictures lie directly in"),
        (_flat_train, "the pictures lie directly in"),
        (lambda root: class_folders(root, {"ant": 5}), "one class only (ant)"),
        (lambda root: class_folders(root / "inner", {"ant": 5, "bee": 5}), "one folder deeper; give"),
        (_empty_class, "no pictures to train on for the class wasp"),
        (_only_in_test, "no pictures to train on for the class wasp"),
        (_no_train, "no folder train"),
        (_two_vals, "two folders for the split val"),
        (_misspelt, "look like splits; rename them"),
        (_stranger, "has the folder holdout beside train"),
    ],
)
def test_one_clear_line(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    root = tmp_path / "d"
    make(root)
    with pytest.raises(DataError) as caught:
        load_dataset(root)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na,b\n", "has no column class, split"),
        ("", "has no column class, path, split"),
        ("path,class,split\n../secret.png,ant,train\n", "leads out of the data set"),
        ("path,class,split\n/etc/secret.png,ant,train\n", "leads out of the data set"),
        ("path,class,split\nC:\\secret.png,ant,train\n", "leads out of the data set"),
        ("path,class,split\nant\\..\\..\\secret.png,ant,train\n", "leads out of the data set"),
        ("path,class,split\n\\\\server\\share\\a.png,ant,train\n", "leads out of the data set"),
        ("path,class,split\nant/000.png,ant,trian\n", "line 2: split is 'trian'; write train, val or test"),
        ("path,class,split\nant/000.png,,train\n", "line 2 has no path or no class"),
        ("path,class,split\nant/000.png\n", "line 2 has no path or no class"),
        (
            "path,class,split\nant/000.png,ant,train\nant\\000.png,ant,test\n",
            "line 3: ant/000.png is named twice",
        ),
        ("path,class,split\nant/gone.png,ant,train\n", "names 1 pictures that are not in"),
        ("path,class,split\nant/000.png,ant,train\n", "one class only (ant)"),
    ],
)
def test_split_file_errors(tmp_path: Path, text: str, message: str) -> None:
    root = class_folders(tmp_path / "d", {"ant": 3, "bee": 3})
    with pytest.raises(DataError) as caught:
        load_dataset(root, split_csv(root, text))
    assert message in str(caught.value)


def test_split_file_that_is_missing_or_no_text(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "d", {"ant": 3, "bee": 3})
    with pytest.raises(DataError, match="cannot read"):
        load_dataset(root, DataOptions(split_file=Path("no-such.csv")))
    with pytest.raises(DataError, match="is not a text file"):
        load_dataset(root, DataOptions(split_file=root / "ant" / "000.png"))


@pytest.mark.parametrize(
    ("line", "message"),
    [("../x.png 0", "leads out"), ("b.png 7", "the class 7; expected 0 to 1"), ("gone.png 0", "not in")],
)
def test_xedu_list_errors(tmp_path: Path, line: str, message: str) -> None:
    class_folders(tmp_path / "training_set", {"ant": 3, "bee": 3})
    save(tmp_path / "val_set" / "b.png", 50)
    (tmp_path / "val.txt").write_text(line, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        load_dataset(tmp_path)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_fractions_out_of_range(tmp_path: Path, fraction: float) -> None:
    with pytest.raises(InputError, match="val_fraction is"):
        load_dataset(tmp_path, DataOptions(val_fraction=fraction))
