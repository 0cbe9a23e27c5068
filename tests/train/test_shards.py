"""Tar shards: the files that Python's tarfile finds, the pictures that folders give, nothing unpacked."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.edge_runtime.errors import DataError
from imago.edge_runtime.spec import InputSpec
from imago.train.data.cache import open_cache
from imago.train.data.check import check_dataset
from imago.train.data.layouts import load_dataset
from imago.train.data.shards import content_of, place_of
from imago.train.data.tarindex import members

from picture_support import class_folders

LONG_NAME = "蝴蝶/" + "very-long-name-" * 12 + ".jpg"
FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def add(archive: tarfile.TarFile, name: str, data: bytes, **more: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in more.items():
        setattr(info, key, value)
    archive.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("kind", FORMATS)
def test_members_are_those_that_tarfile_finds(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tar"
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w", format=FORMATS[kind]) as archive:
        for number in range(20):
            add(archive, f"bee/{number:04}.jpg", rng.bytes(int(rng.integers(0, 3000))))
        add(archive, "x" * 90 + "/" + "y" * 80 + ".png", b"long")
        if kind != "ustar":
            add(archive, LONG_NAME, b"longer")
        add(archive, "folder", b"", type=tarfile.DIRTYPE)
        add(archive, "link.jpg", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(archive, "hard.jpg", b"", type=tarfile.LNKTYPE, linkname="bee/0001.jpg")
        add(archive, "fifo.jpg", b"", type=tarfile.FIFOTYPE)
        add(archive, "last.jpg", b"end")
    with tarfile.open(path) as archive:
        wanted = [(m.name, m.offset_data, m.size) for m in archive if m.isreg()]
    assert [(m.name, m.offset, m.size) for m in members(path)] == wanted
    assert len(wanted) == (22 if kind == "ustar" else 23)


def test_a_size_beyond_octal_digits(tmp_path: Path) -> None:
    """GNU's binary sizes: a sparse file on disk of nine gigabytes, of which nothing is read."""
    path = tmp_path / "big.tar"
    info = tarfile.TarInfo("big.jpg")
    info.size = 9 << 30
    with path.open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(512 + info.size + 1024)
    assert [(m.name, m.offset, m.size) for m in members(path)] == [("big.jpg", 512, 9 << 30)]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 255)), max_size=6), st.integers(0, 6000))
def test_a_damaged_archive_is_one_clear_error(changes: list[tuple[int, int]], cut: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        add(archive, LONG_NAME, b"a" * 700)
        add(archive, "bee/1.jpg", b"b" * 100)
    data = bytearray(buffer.getvalue())
    for at, value in changes:
        data[at % len(data)] = value
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tar"
        path.write_bytes(data[: len(data) - cut % len(data)])
        size = path.stat().st_size
        try:
            found = list(members(path))
        except DataError:
            return
        assert all(m.offset >= 0 and m.offset + m.size <= size for m in found)


@pytest.mark.parametrize(
    "record",
    [
        b"xx path=bee/1.jpg\n",
        b"0 path=bee/1.jpg\n",
        b"2 path=b\n",
        b"9" * 5000 + b" path=b\n",
        b"99 path=b\n",
    ],
)
def test_a_damaged_extended_header_ends(tmp_path: Path, record: bytes) -> None:
    """A length that is none was an endless loop (found by the test above, after a thousand runs)."""
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        add(archive, "header", record, type=tarfile.XHDTYPE)
        add(archive, "bee/1.jpg", b"b" * 100)
    with pytest.raises(DataError, match="not a whole tar"):
        list(members(path))


@pytest.mark.parametrize("size", ["²", "-1", "9" * 5000, ""])
def test_a_size_that_is_none_is_refused(tmp_path: Path, size: str) -> None:
    path, field = tmp_path / "a.tar", f" size={size}\n".encode()
    length = next(n for n in range(len(field), len(field) + 9) if len(str(n)) + len(field) == n)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        add(archive, "header", str(length).encode() + field, type=tarfile.XHDTYPE)
        add(archive, "bee/1.jpg", b"b" * 100)
    with pytest.raises(DataError, match="not a whole tar"):
        list(members(path))


def packed(folder: Path, shards: Path, split: str = "train") -> None:
    """The class folders of ``folder`` in two shards."""
    shards.mkdir(parents=True, exist_ok=True)
    pictures = sorted(folder.rglob("*.png"))
    for number in range(2):
        with tarfile.open(shards / f"{split}-{number:06}.tar", "w") as archive:
            for picture in pictures[number::2]:
                archive.add(picture, f"{picture.parent.name}/{picture.name}")


def test_shards_give_the_bytes_of_folders(tmp_path: Path) -> None:
    plain = class_folders(tmp_path / "plain" / "train", {"ant": 6, "bee": 7})
    held = class_folders(tmp_path / "plain" / "test", {"ant": 3, "bee": 3}, first_seed=50)
    packed(plain, tmp_path / "shards")
    packed(held, tmp_path / "shards", "test")
    one, two = load_dataset(tmp_path / "plain"), load_dataset(tmp_path / "shards")
    assert two.layout == "tar shards"
    assert one.classes == two.classes
    spec = InputSpec(16, 16)
    for split in ("train", "val", "test"):
        a = open_cache(one, split, spec, root=tmp_path / "cache", progress=False)
        b = open_cache(two, split, spec, root=tmp_path / "cache", progress=False)
        rows = [
            sorted((int(y), x.tobytes()) for x, y in zip(c.images, c.labels, strict=True)) for c in (a, b)
        ]
        assert rows[0] == rows[1]
    report = check_dataset(tmp_path / "shards", progress=False)
    assert not [finding for finding in report.findings if finding.severity == "error"]
    path = two.splits["train"].paths[0]
    place = place_of(path)
    assert place is not None
    name = path.rsplit("|", 1)[1]
    assert content_of(tmp_path / "shards", path) == (plain / name).read_bytes()


def test_labels_beside_the_pictures(tmp_path: Path) -> None:
    """WebDataset's own convention: one key, several extensions; numbers named by classes.txt."""
    source = class_folders(tmp_path / "source", {"x": 12})
    shards = tmp_path / "shards" / "train"
    shards.mkdir(parents=True)
    with tarfile.open(shards / "000.tar", "w") as archive:
        for number, picture in enumerate(sorted(source.rglob("*.png"))):
            add(archive, f"{number:05}.png", picture.read_bytes())
            if number % 2:
                add(archive, f"{number:05}.cls", str(number % 3).encode())
            else:
                add(archive, f"{number:05}.json", json.dumps({"label": number % 3}).encode())
    (tmp_path / "shards" / "classes.txt").write_text("wasp\nbee\nant\n", encoding="utf-8")
    data = load_dataset(tmp_path / "shards")
    assert data.classes == ("ant", "bee", "wasp")
    names = {0: "wasp", 1: "bee", 2: "ant"}
    seen = 0
    for split in data.splits.values():
        for path, label in zip(split.paths, split.labels.tolist(), strict=True):
            number = int(path.rsplit("|", 1)[1].removesuffix(".png"))
            assert data.classes[label] == names[number % 3]
            seen += 1
    assert seen == 12


def test_what_is_refused(tmp_path: Path) -> None:
    picture = next(class_folders(tmp_path / "source", {"x": 1}).rglob("*.png")).read_bytes()

    def shard(folder: str, name: str, *members_: str) -> Path:
        (tmp_path / folder).mkdir()
        with tarfile.open(tmp_path / folder / name, "w") as archive:
            for member in members_:
                add(archive, member, picture)
        return tmp_path / folder

    with pytest.raises(DataError, match="leads elsewhere"):
        load_dataset(shard("a", "train-0.tar", "../../etc/x.png"))
    with pytest.raises(DataError, match="leads elsewhere"):
        load_dataset(shard("b", "train-0.tar", "/etc/x.png"))
    with pytest.raises(DataError, match="has no class"):
        load_dataset(shard("c", "train-0.tar", "1.png"))
    with pytest.raises(DataError, match="none for train"):
        load_dataset(shard("d", "val-0.tar", "bee/1.png"))
    with pytest.raises(DataError, match="is compressed"):
        load_dataset(shard("e", "train-0.tar.gz", "bee/1.png"))
    mixed = shard("f", "train-0.tar", "bee/1.png")
    (mixed / "other.tar").write_bytes((mixed / "train-0.tar").read_bytes())
    with pytest.raises(DataError, match="begin their names"):
        load_dataset(mixed)
    cut = shard("g", "train-0.tar", "bee/1.png", "ant/2.png")
    (cut / "train-0.tar").write_bytes((cut / "train-0.tar").read_bytes()[:1000])
    with pytest.raises(DataError, match="not a whole tar file"):
        load_dataset(cut)
