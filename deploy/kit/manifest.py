"""A kit on disk: a folder of wheels and Debian packages, and one file that says what it is.

kit/
  kit.json           written last: with it the kit is whole
  requirements.txt   a closed list with hashes, for pip --no-index --no-deps --require-hashes
  wheels/*.whl
  debs/*.deb         only where the board's system lacks something
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr

SCHEMA = 1
MANIFEST, REQUIREMENTS = "kit.json", "requirements.txt"
MAX_MANIFEST = 1 << 20
MAX_FILES = 2000
FILE_NAME = re.compile(
    r"requirements\.txt|wheels/[A-Za-z0-9][\w.+!-]{0,199}\.whl|debs/[a-z0-9][\w.+~%-]{0,199}\.deb"
)
HEX = re.compile(r"[0-9a-f]{64}")
BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class KitFile:
    """One file of a kit. path: relative, with /; size in bytes."""

    path: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        if not (FILE_NAME.fullmatch(self.path) and HEX.fullmatch(self.sha256) and self.size >= 0):
            raise ValueError(f"not a file of a kit: {self.path!r}")


@dataclass(frozen=True, slots=True)
class Kit:
    """What ``kit.json`` says. target: see ``Target.to_dict``."""

    imago: str
    target: Mapping[str, Any]
    engine: str
    camera: str
    extras: tuple[str, ...]
    debs: tuple[str, ...]
    files: tuple[KitFile, ...]

    @property
    def digest(self) -> str:
        """The same for the same files, whenever the kit was made."""
        lines = sorted(f"{file.sha256}  {file.path}\n" for file in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)

    def to_dict(self) -> dict[str, Any]:
        """The content of ``kit.json``."""
        head = {"schema": SCHEMA, "imago": self.imago, "digest": self.digest}
        rest = asdict(self)
        rest.pop("imago")
        return {**head, **rest, "target": dict(self.target)}


def describe_file(folder: Path, path: str, on_bytes: Callable[[int], object] = lambda n: None) -> KitFile:
    """Size and hash of ``folder/path``, read in blocks; ``on_bytes`` hears how many were read."""
    digest, size = hashlib.sha256(), 0
    with (folder / path).open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            size += len(block)
            on_bytes(len(block))
    return KitFile(path, size, digest.hexdigest())


def read_kit(folder: Path) -> Kit:
    """The manifest of the kit in ``folder``. Raises InputError where there is none, or it is not usable."""
    path = folder / MANIFEST
    try:
        if path.stat().st_size > MAX_MANIFEST:
            raise ValueError("it is too large")
        data = json.loads(path.read_text(encoding="utf-8"))
        return _from_dict(data)
    except FileNotFoundError as error:
        raise InputError(
            "{path} is no whole kit: there is no kit.json in it; imago kit -o {path} makes one, or goes on "
            "where it stopped",
            path=folder,
        ) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            "{path} is not a kit that this imago can read ({reason}); make it again with imago kit",
            path=path,
            reason=error,
        ) from error


def _from_dict(data: Any) -> Kit:
    if data["schema"] != SCHEMA:
        raise ValueError(f"schema {data['schema']}, expected {SCHEMA}")
    if len(data["files"]) > MAX_FILES:
        raise ValueError("too many files")
    files = tuple(KitFile(str(f["path"]), int(f["size"]), str(f["sha256"])) for f in data["files"])
    if len({file.path for file in files}) != len(files):
        raise ValueError("a file is listed twice")
    kit = Kit(
        str(data["imago"]),
        {str(key): value for key, value in data["target"].items()},
        str(data["engine"]),
        str(data["camera"]),
        tuple(map(str, data["extras"])),
        tuple(map(str, data["debs"])),
        files,
    )
    if data["digest"] != kit.digest:
        raise ValueError("its own digest does not fit")
    return kit


def faults(
    folder: Path, kit: Kit, on_bytes: Callable[[int], object] = lambda n: None
) -> Iterable[tuple[str, str]]:
    """Everything that differs from the manifest: (path, missing | link | size | hash | unlisted)."""
    for file in kit.files:
        path = folder / file.path
        if path.is_symlink() or path.parent.is_symlink():
            yield file.path, "link"
        elif not path.is_file():
            yield file.path, "missing"
        elif path.stat().st_size != file.size:
            yield file.path, "size"
        elif describe_file(folder, file.path, on_bytes).sha256 != file.sha256:
            yield file.path, "hash"
    listed = {file.path for file in kit.files} | {MANIFEST}
    for name in ("wheels", "debs"):
        for path in sorted((folder / name).glob("*")):
            if (relative := f"{name}/{path.name}") not in listed:
                yield relative, "unlisted"


def fault_text(fault: str) -> str:
    """The words for one of ``faults``, to be put behind the file's name."""
    words = {
        "missing": tr("is missing"),
        "link": tr("is a link"),
        "size": tr("has another size"),
        "hash": tr("has another content"),
        "unlisted": tr("does not belong to it"),
    }
    return words[fault]


def refuse_damaged(folder: Path, kit: Kit) -> None:
    """Raise InputError where a file differs from the manifest; it names the first one."""
    found = list(faults(folder, kit))
    if found:
        path, fault = found[0]
        raise InputError(
            "{kit} is damaged: {path} {fault} (faults: {n}; imago kit verify {kit} lists them); make it "
            "again with imago kit --renew",
            kit=folder,
            path=path,
            fault=fault_text(fault),
            n=len(found),
        )
