"""`imago data check` finds each planted fault, exactly, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imago.edge_runtime.errors import DataError
from imago.train.data.check import check_dataset
from imago.train.data.layouts import load_dataset
from imago.train.data.report import CheckReport

from picture_support import class_folders, idx_set, pixels, save
from support import imago


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A sound set: three splits, 24 training pictures per class."""
    for i, (split, count) in enumerate((("train", 24), ("val", 3), ("test", 200))):
        folder = tmp_path / "d" / split
        class_folders(folder, {"ant": min(count, 24), "bee": min(count, 24)}, first_seed=1000 * i)
    return tmp_path / "d"


def kinds(report: CheckReport) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {f.kind: (f.severity, f.files) for f in report.findings if f.kind != "small-test"}


def test_a_sound_set_has_no_findings(root: Path) -> None:
    report = check_dataset(root)
    assert kinds(report) == {}
    assert report.usable
    assert report.n == 2 * (24 + 3 + 24)
    assert report.counts["ant"] == {"train": 24, "val": 3, "test": 24}


def _jpeg(path: Path, quality: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(5000, 200, 150)).save(path, "JPEG", quality=quality)


def _cut(path: Path) -> None:
    _jpeg(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _cut_png(path: Path) -> None:
    save(path, 5001, 200, 150)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _copy(source: str) -> Callable[[Path], None]:
    """The same pixels in another file format: other bytes, the same picture."""

    def plant(path: Path) -> None:
        folder = next(p for p in path.parents if p.name == "d")
        Image.open(folder / source).save(path)

    return plant


def _animation(path: Path) -> None:
    frames = [Image.fromarray(pixels(5002 + i)) for i in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("kind", "severity", "name", "plant"),
    [
        ("empty", "error", "train/ant/z.jpg", lambda path: path.touch()),
        ("truncated", "error", "train/ant/z.jpg", _cut),
        ("truncated", "error", "val/bee/z.png", _cut_png),
        ("unreadable", "error", "train/ant/z.jpg", lambda path: path.write_text("<html>404</html>")),
        ("wrong-extension", "warning", "train/ant/z.png", _jpeg),
        ("animation", "warning", "train/ant/z.gif", _animation),
        ("animation", "warning", "train/ant/z.gif", lambda path: save(path, 5003)),
        ("tiny-picture", "warning", "train/ant/z.png", lambda path: save(path, 5004, 20, 8)),
        ("odd-shape", "warning", "train/ant/z.png", lambda path: save(path, 5005, 400, 100)),
        ("unsupported", "warning", "train/ant/z.HEIC", lambda path: path.write_bytes(b"ftypheic")),
        ("loose", "warning", "train/z.png", lambda path: save(path, 5006)),
        ("grey", "info", "train/ant/z.png", lambda p: Image.fromarray(pixels(5007)).convert("L").save(p)),
    ],
)
def test_one_planted_file(
    root: Path, kind: str, severity: str, name: str, plant: Callable[[Path], object]
) -> None:
    plant(root / name)
    report = check_dataset(root)
    assert kinds(report) == {kind: (severity, (name,))}
    assert report.usable == (severity != "error")


@pytest.mark.parametrize(
    ("kind", "severity", "name", "original"),
    [
        ("duplicates", "info", "train/ant/z.bmp", "train/ant/000.png"),
        ("duplicate-splits", "warning", "train/ant/z.bmp", "test/ant/000.png"),
        ("duplicate-classes", "warning", "train/ant/z.bmp", "train/bee/000.png"),
    ],
)
def test_duplicates(root: Path, kind: str, severity: str, name: str, original: str) -> None:
    _copy(original)(root / name)
    report = check_dataset(root)
    assert {k: (s, set(files)) for k, (s, files) in kinds(report).items()} == {
        kind: (severity, {name, original})
    }
    assert [set(group) for group in next(f for f in report.findings if f.kind == kind).groups] == [
        {name, original}
    ]


def test_faults_of_classes(tmp_path: Path) -> None:
    class_folders(tmp_path, {"ant": 90, "Ant": 30, "bee": 20, "wasp": 0})
    report = check_dataset(tmp_path)
    assert set(kinds(report)) == {"empty-class", "case-collision", "tiny-class", "imbalance"}
    messages = {f.kind: f.message for f in report.findings}
    assert "wasp" in messages["empty-class"]
    assert "Ant, ant" in messages["case-collision"]
    assert "bee" in messages["tiny-class"]
    assert "ant has 4." in messages["imbalance"]
    assert report.findings[0].severity == "error"
    assert not report.usable


def test_a_class_that_a_split_lacks(root: Path) -> None:
    shutil.rmtree(root / "val" / "bee")
    report = check_dataset(root)
    assert [f.message.partition(":")[0] for f in report.findings if f.kind == "missing-in-split"] == [
        "val has no pictures of bee"
    ]


def test_one_class_is_reported_with_the_rest(tmp_path: Path) -> None:
    class_folders(tmp_path, {"ant": 30})
    (tmp_path / "ant" / "z.png").touch()
    assert set(kinds(check_dataset(tmp_path))) == {"one-class", "empty"}


def test_everything_at_once(root: Path) -> None:
    (root / "train/ant/a.jpg").touch()
    _cut(root / "train/ant/b.jpg")
    (root / "train/bee/c.jpg").write_text("no picture")
    _jpeg(root / "val/bee/d.png")
    (root / "train" / "wasp").mkdir()
    assert set(kinds(check_dataset(root))) == {
        "empty", "truncated", "unreadable", "wrong-extension", "empty-class"
    }  # fmt: skip


def test_the_split_is_the_one_that_training_uses(tmp_path: Path) -> None:
    root = class_folders(tmp_path, {"ant": 40, "bee": 25})
    dataset, report = load_dataset(root), check_dataset(root)
    for index, name in enumerate(dataset.classes):
        assert report.counts[name] == {
            split: int((part.labels == index).sum()) for split, part in dataset.splits.items()
        }


def test_idx_duplicates(tmp_path: Path) -> None:
    root = idx_set(tmp_path, {"train": 90, "t10k": 12}, packed=False)
    train = (root / "train-images-idx3-ubyte").read_bytes()
    test = bytearray((root / "t10k-images-idx3-ubyte").read_bytes())
    test[16 : 16 + 35] = train[16 : 16 + 35]
    (root / "t10k-images-idx3-ubyte").write_bytes(test)
    report = check_dataset(root)
    found = next(f for f in report.findings if f.kind == "duplicate-splits")
    assert found.files[-1] == "test #0"


def test_nothing_to_check(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures to train on"):
        check_dataset(tmp_path)


def test_command(root: Path) -> None:
    sound = imago("data", "check", str(root))
    assert sound.returncode == 0
    assert "usable for training" in sound.stdout
    (root / "train/ant/z.jpg").touch()
    bad = imago("data", "check", str(root), "--json", "-")
    assert bad.returncode == 1
    report = json.loads(bad.stdout)
    assert report["usable"] is False
    assert report["findings"][0]["files"] == ["train/ant/z.jpg"]
    assert report["counts"]["ant"]["train"] == 25
    chinese = imago("data", "check", str(root), env={"IMAGO_LANG": "zh"})
    assert "train/ant/z.jpg" in chinese.stdout
    missing = imago("data", "check", str(root / "nowhere"))
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr.count("\n") == 1


def test_grey_needs_no_colour_at_all(tmp_path: Path) -> None:
    """A faint tint is colour; JPEG's rounding of a grey picture is not."""
    class_folders(tmp_path, {"ant": 30, "bee": 30})
    tint = np.full((40, 40, 3), 128, np.uint8)
    tint[..., 0] += 12
    Image.fromarray(tint).save(tmp_path / "ant" / "tint.png")
    grey = Image.fromarray(pixels(7000, 80, 80)).convert("L").convert("RGB")
    grey.save(tmp_path / "bee" / "grey.jpg", quality=85)
    assert kinds(check_dataset(tmp_path)) == {"grey": ("info", ("bee/grey.jpg",))}
