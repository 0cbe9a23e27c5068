"""The cache gives the bytes of the one preprocessing, notices every change, and trusts no half entry."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from imago.edge_runtime.errors import DataError, InputError
from imago.edge_runtime.imageio import read_image
from imago.edge_runtime.preprocess import Preprocessor
from imago.edge_runtime.spec import InputSpec
from imago.edge_runtime.types import Frame
from imago.train.data import reading
from imago.train.data.cache import cache_key, open_cache
from imago.train.data.evict import evict
from imago.train.data.layouts import load_dataset
from imago.train.dataset import DataOptions, Dataset

from picture_support import class_folders, idx_set
from support import ROOT

SPEC = InputSpec(24, 16)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return load_dataset(class_folders(tmp_path / "d", {"蚂蚁": 40, "bee": 40}, suffix=".jpg"))


def built(base: Path) -> dict[str, int]:
    """Entry → inode of its array: a rebuilt entry is another file."""
    return {path.parent.name: path.stat().st_ino for path in base.glob("*/images.npy")}


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        InputSpec(32, 32, 1, "gray"),
        InputSpec(20, 20, 3, "bgr", fit="letterbox", pad=114),
        InputSpec(60, 60, fit="stretch", layout="nhwc"),
    ],
)
def test_same_bytes_as_the_preprocessor(tmp_path: Path, dataset: Dataset, spec: InputSpec) -> None:
    split = dataset.splits["train"]
    cached = open_cache(dataset, "train", spec, root=tmp_path / "c", workers=3)
    one = Preprocessor(spec)
    want = np.stack([one.pixels(read_image(dataset.root / path, spec)) for path in split.paths])
    np.testing.assert_array_equal(cached.images, want)
    np.testing.assert_array_equal(cached.labels, split.labels)
    assert cached.images.shape == (len(split), spec.height, spec.width, spec.channels)
    assert cached.images.dtype == np.uint8
    assert not cached.images.flags.writeable
    assert not cached.labels.flags.writeable


def test_idx_pictures(tmp_path: Path) -> None:
    dataset = load_dataset(idx_set(tmp_path / "d", {"train": 90, "t10k": 12}))
    spec = InputSpec(10, 10, 1, "gray", fit="stretch")
    cached = open_cache(dataset, "test", spec, root=tmp_path / "c")
    images = dataset.splits["test"].images
    assert images is not None
    one = Preprocessor(spec)
    want = np.stack([one.pixels(Frame(image=image, color="gray")) for image in images])
    np.testing.assert_array_equal(cached.images, want)


def test_second_opening_reads_the_first_ones_work(tmp_path: Path, dataset: Dataset) -> None:
    first = open_cache(dataset, "train", SPEC, root=tmp_path / "c")
    before = built(tmp_path / "c")
    second = open_cache(dataset, "train", SPEC, root=tmp_path / "c")
    assert built(tmp_path / "c") == before
    np.testing.assert_array_equal(first.images, second.images)


def test_rebuilt_when_the_data_change(tmp_path: Path, dataset: Dataset) -> None:
    old = np.array(open_cache(dataset, "train", SPEC, root=tmp_path / "c").images)
    changed = dataset.splits["train"].paths[0]
    (dataset.root / changed).write_bytes((dataset.root / dataset.splits["test"].paths[0]).read_bytes())
    again = load_dataset(dataset.root)
    new = open_cache(again, "train", SPEC, root=tmp_path / "c")
    assert len(built(tmp_path / "c")) == 2
    one = Preprocessor(SPEC)
    want = [one.pixels(read_image(dataset.root / path, SPEC)) for path in again.splits["train"].paths]
    np.testing.assert_array_equal(new.images, np.stack(want))
    assert old.shape != new.images.shape or (old != new.images).any()


def test_only_new_pictures_are_decoded(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Added, removed, changed, renamed, of another class, of another split: as if built from nothing."""
    base, folder = tmp_path / "c", dataset.root / "bee"
    for split in dataset.splits:
        open_cache(dataset, split, SPEC, root=base)
    pictures = sorted(folder.iterdir())
    pictures[0].unlink()
    pictures[1].rename(folder / "renamed.jpg")
    pictures[2].rename(dataset.root / "蚂蚁" / "moved.jpg")
    class_folders(tmp_path / "more", {"bee": 3, "wasp": 1}, suffix=".jpg", first_seed=900)
    new = sorted((tmp_path / "more" / "bee").iterdir())
    for number, path in enumerate(new[:2]):
        path.rename(folder / f"new{number}.jpg")
    new[2].replace(pictures[3])  # other content under the old name
    changed = load_dataset(dataset.root, DataOptions(split_seed=5))
    decoded: list[str] = []

    def counting(source: Path, spec: InputSpec) -> Frame:
        decoded.append(source.name)
        return read_image(source, spec)

    monkeypatch.setattr(reading, "read_image", counting)
    for split in changed.splits:
        grown = open_cache(changed, split, SPEC, root=base).images
        seen = len(decoded)
        np.testing.assert_array_equal(
            grown, open_cache(changed, split, SPEC, root=tmp_path / f"fresh {split}").images
        )
        del decoded[seen:]
    assert sorted(decoded) == sorted(["new0.jpg", "new1.jpg", pictures[3].name])
    decoded.clear()
    open_cache(changed, "train", InputSpec(16, 24), root=base)  # another geometry: nothing is known
    assert len(decoded) == len(changed.splits["train"])


def test_what_the_key_is_made_of(dataset: Dataset) -> None:
    same = [
        InputSpec(24, 16),
        InputSpec(24, 16, layout="nhwc"),
        InputSpec(24, 16, dtype="float32", std=(2.0,)),
    ]
    other = [
        InputSpec(16, 24),
        InputSpec(24, 16, color="bgr"),
        InputSpec(24, 16, 1, "gray"),
        InputSpec(24, 16, fit="stretch"),
        InputSpec(24, 16, pad=1),
    ]
    assert len({cache_key(dataset, "train", spec) for spec in same}) == 1
    assert len({cache_key(dataset, "train", spec) for spec in [*same, *other]}) == 1 + len(other)
    assert cache_key(dataset, "val", SPEC) != cache_key(dataset, "train", SPEC)


def _short(file: Path) -> None:
    with file.open("r+b") as handle:
        handle.truncate(file.stat().st_size - 5)


def _flipped(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        _short,
        _flipped,
        lambda file: file.write_bytes(b""),
        lambda file: file.unlink(),
        lambda file: (file.parent / "meta.json").write_text("{"),
        lambda file: (file.parent / "meta.json").write_text("[]"),
        lambda file: (file.parent / "meta.json").unlink(),
    ],
)
def test_damage_is_noticed_and_mended(tmp_path: Path, dataset: Dataset, damage: object) -> None:
    assert callable(damage)
    want = np.array(open_cache(dataset, "train", SPEC, root=tmp_path / "c").images)
    (file,) = (tmp_path / "c").glob("*/images.npy")
    damage(file)
    np.testing.assert_array_equal(open_cache(dataset, "train", SPEC, root=tmp_path / "c").images, want)
    assert [p.name for p in (tmp_path / "c").iterdir()] == [cache_key(dataset, "train", SPEC)]


def test_a_touched_but_sound_file_is_not_built_again(tmp_path: Path, dataset: Dataset) -> None:
    open_cache(dataset, "train", SPEC, root=tmp_path / "c")
    (file,) = (tmp_path / "c").glob("*/images.npy")
    before = built(tmp_path / "c")
    os.utime(file, ns=(1, 1))
    open_cache(dataset, "train", SPEC, root=tmp_path / "c")
    assert built(tmp_path / "c") == before


def test_broken_pictures_are_named(tmp_path: Path, dataset: Dataset) -> None:
    for path in dataset.splits["train"].paths[:7]:
        (dataset.root / path).write_bytes(b"broken")
    again = load_dataset(dataset.root)
    bad = [p for p in again.splits["train"].paths if (dataset.root / p).read_bytes() == b"broken"]
    with pytest.raises(DataError) as caught:
        open_cache(again, "train", SPEC, root=tmp_path / "c")
    message = str(caught.value)
    assert message.startswith(f"{len(bad)} pictures cannot be decoded: {', '.join(bad[:5])} …")
    assert "imago data check" in message
    assert list((tmp_path / "c").iterdir()) == []


def test_unknown_split(dataset: Dataset) -> None:
    with pytest.raises(InputError, match="there is no split dev in d; it has train, val, test"):
        open_cache(dataset, "dev", SPEC)


def test_default_place_is_the_one_in_the_environment(tmp_path: Path, dataset: Dataset) -> None:
    open_cache(dataset, "val", SPEC)
    assert built(Path(os.environ["IMAGO_CACHE"]) / "pictures")


BUILDER = """
import sys, hashlib, pathlib
from imago.train.data.cache import open_cache
from imago.train.data.layouts import load_dataset
from imago.edge_runtime.spec import InputSpec
sys.stdin.readline()
dataset, base = load_dataset(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2])
cached = open_cache(dataset, "train", InputSpec(24, 16), root=base)
print(hashlib.sha256(cached.images.tobytes()).hexdigest())
"""


def _start(dataset: Dataset, base: Path, **more: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(dataset.root), str(base)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / ".dev")},
        **more,  # type: ignore[call-overload]
    )


def test_builders_at_the_same_time(tmp_path: Path, dataset: Dataset) -> None:
    builders = [_start(dataset, tmp_path / "c") for _ in range(3)]
    for builder in builders:
        assert builder.stdin is not None
        builder.stdin.write("go\n")
        builder.stdin.flush()
    results = [builder.communicate(timeout=60) for builder in builders]
    assert all(builder.returncode == 0 for builder in builders), results
    assert len({out for out, _ in results}) == 1
    assert [p.name for p in (tmp_path / "c").iterdir()] == [cache_key(dataset, "train", SPEC)]


def test_full_disk(tmp_path: Path, dataset: Dataset) -> None:
    """A real write that fails half-way: the process may write 20 kB per file and no more."""
    builder = _start(
        dataset,
        tmp_path / "c",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    _, err = builder.communicate("go\n", timeout=60)
    assert builder.returncode != 0
    assert "StorageError" in err
    assert list((tmp_path / "c").iterdir()) == []


def test_killed_builder_leaves_nothing_that_is_trusted(tmp_path: Path, dataset: Dataset) -> None:
    """What a kill leaves behind is a folder under a temporary name; a day later it is swept away."""
    base = tmp_path / "c"
    left = base / ".build-1-dead"
    left.mkdir(parents=True)
    (left / "images.npy").write_bytes(b"half")
    open_cache(dataset, "val", SPEC, root=base)
    assert left.exists(), "it may belong to a builder that still runs"
    os.utime(left, (time.time() - 100_000,) * 2)
    open_cache(dataset, "test", SPEC, root=base)
    assert not left.exists()


def test_least_recently_used_makes_room(tmp_path: Path, dataset: Dataset) -> None:
    base = tmp_path / "c"
    for age, split in ((300, "train"), (200, "val"), (100, "test")):
        open_cache(dataset, split, SPEC, root=base)
        os.utime(base / cache_key(dataset, split, SPEC), (time.time() - age,) * 2)
    open_cache(dataset, "train", SPEC, root=base)  # now the one used last
    sizes = {
        s: sum(f.stat().st_size for f in (base / cache_key(dataset, s, SPEC)).iterdir())
        for s in dataset.splits
    }
    evict(base, sizes["train"] + sizes["test"])
    assert set(built(base)) == {cache_key(dataset, s, SPEC) for s in ("train", "test")}
    evict(base, 0, keep=cache_key(dataset, "test", SPEC))
    assert set(built(base)) == {cache_key(dataset, "test", SPEC)}


def test_the_quota_holds_while_building(tmp_path: Path, dataset: Dataset) -> None:
    base = tmp_path / "c"
    open_cache(dataset, "train", SPEC, root=base)
    open_cache(dataset, "test", SPEC, root=base, quota=20_000)
    assert set(built(base)) == {cache_key(dataset, "test", SPEC)}
