"""`imago data fetch`: public data sets from their public mirrors.

MNIST and Fashion-MNIST are checked against their published md5 sums. For the hymenoptera set nobody
publishes one: the CRC of every file in the zip is checked, and that all classes are complete.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imago.edge_runtime.errors import DataError, InputError, StorageError
from imago.edge_runtime.files import replacing, write_text
from imago.train.data.download import download, md5_is
from imago.train.data.folders import is_noise, is_picture
from imago.train.data.listfiles import safe_path

LIMIT = 1 << 30


@dataclass(frozen=True)
class Source:
    """A data set to fetch. files: name → md5 ("" where none is published). counts: folder → pictures."""

    title: str
    licence: str
    base_urls: tuple[str, ...]
    files: Mapping[str, str]
    classes: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


SOURCES: dict[str, Source] = {
    "mnist": Source(
        title="MNIST",
        licence="CC BY-SA 3.0",
        base_urls=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        files={
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion-mnist": Source(
        title="Fashion-MNIST",
        licence="MIT",
        base_urls=(  # the S3 website that most code names speaks no https; these two do
            "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        files={
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
    ),
    "hymenoptera": Source(
        title="hymenoptera (ants and bees)",
        licence="",
        base_urls=("https://download.pytorch.org/tutorial/",),
        files={"hymenoptera_data.zip": ""},
        counts={"train/ants": 124, "train/bees": 121, "val/ants": 70, "val/bees": 83},
    ),
}


def fetch(
    name: str,
    out: Path,
    progress: bool = True,
    base_urls: Sequence[str] | None = None,
    *,
    source: Source | None = None,
    pause_s: float = 1.0,
) -> Path:
    """Download data set ``name`` into folder ``out`` and return it; what is already there stays.

    base_urls: other mirrors (each the folder of the files). source: another description than the built-in.
    Raises InputError (no such set), DataError (network, checksum, damaged archive), StorageError (disk).
    """
    found = source or SOURCES.get(name)
    if found is None:
        raise InputError("no data set called {name}; there are {known}", name=name, known=", ".join(SOURCES))
    mirrors = [url.rstrip("/") + "/" for url in (base_urls or found.base_urls)]
    if any(file.endswith(".zip") for file in found.files):
        return _fetch_zip(found, out, mirrors, progress, pause_s)
    for file, md5 in found.files.items():
        urls = [url + file for url in mirrors]
        download(urls, out / file, sound=md5_is(md5), limit=LIMIT, progress=progress, pause_s=pause_s)
    if found.classes:
        write_text(out / "classes.txt", "\n".join(found.classes) + "\n")
    return out


def _fetch_zip(source: Source, out: Path, mirrors: list[str], progress: bool, pause_s: float) -> Path:
    (file, md5), *_ = source.files.items()
    if out.is_dir() and any(out.iterdir()):
        if not _missing(out, source.counts):
            return out
        raise StorageError(
            "{path} exists and holds something else; choose another folder with --out", path=out
        )
    archive = out.with_name(f"{out.name}.zip")
    check = md5_is(md5) if md5 else zipfile.is_zipfile
    urls = [url + file for url in mirrors]
    download(urls, archive, sound=check, limit=LIMIT, progress=progress, pause_s=pause_s)
    try:
        if out.is_dir():
            out.rmdir()  # empty, as seen above; a rename needs the place
        with replacing(out) as temporary:
            unzip(archive, temporary)
            missing = _missing(temporary, source.counts)
            if missing:
                raise DataError(
                    "the archive of {name} is not complete ({missing}); fetch it again",
                    name=source.title,
                    missing=missing,
                )
    finally:
        archive.unlink(missing_ok=True)
    return out


def unzip(archive: Path, out: Path, *, limit: int = LIMIT, files: int = 100_000) -> None:
    """Unpack pictures and text below ``out``, without the archive's own top folder.

    Refuses paths that leave the folder, links, more than ``files`` files and more than ``limit`` bytes; each
    file's CRC is checked. Raises DataError.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            members = [info for info in zipped.infolist() if not info.is_dir()]
            names = {info: safe_path(info.filename, archive) for info in members}
            linked = any(stat.S_ISLNK(info.external_attr >> 16) for info in members)
            if linked or len(members) > files or sum(info.file_size for info in members) > limit:
                raise DataError("{path} is refused: it holds links or is far too large", path=archive)
            tops = {name.partition("/")[0] for name in names.values() if not is_noise(name.partition("/")[0])}
            for info, name in names.items():
                inner = name.partition("/")[2] if len(tops) == 1 else name
                if inner and not any(map(is_noise, name.split("/"))):
                    _extract(zipped, info, out / inner)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(
            "{path} is a damaged archive ({reason}); fetch it again", path=archive, reason=error
        ) from error


def _extract(zipped: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    left = info.file_size  # the sum was checked; a file that unpacks to more than it says is cut off here
    with zipped.open(info) as packed, target.open("wb") as file:
        while block := packed.read(1 << 16):
            left -= len(block)
            if left < 0:
                raise zipfile.BadZipFile(f"{info.filename} is larger than it says")
            file.write(block)


def _missing(folder: Path, counts: Mapping[str, int]) -> str:
    """Which class folders have another number of pictures than expected, in words; "" if none."""
    there: Counter[str] = Counter()
    for path in folder.rglob("*"):
        if path.is_file() and is_picture(path.name) and not is_noise(path.name):
            there[path.parent.relative_to(folder).as_posix()] += 1
    return ", ".join(f"{name}: {there[name]} / {n}" for name, n in counts.items() if there[name] != n)
