"""The board's system, as a folder or an image file: what is installed there, and where it gets packages from.

Only text is read; nothing of the system is run, and nothing outside it is followed.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imago.deploy.image_file import Source, open_source, unpack
from imago.deploy.kit.target import Target
from imago.edge_runtime.errors import InputError, MissingDependency

STATUS = "var/lib/dpkg/status"
# Everything that is asked of a system; the same list is copied out of an image.
PLACES = (
    STATUS,
    "etc/os-release",
    "usr/lib/os-release",
    "etc/apt",
    "usr/share/keyrings",
    "var/lib/apt/lists",
)
MAX_FILE = 300 << 20  # trixie's list of main packages is 54 MB
MAX_FILES = 2000
LINUX_PARTITION = 0x83
OWN = "system"  # our folder, beside the unfinished kit


@dataclass(frozen=True, slots=True)
class BoardSystem:
    """A system's files under ``root``; ``file`` and ``folder`` never lead out of it."""

    root: Path

    def file(self, name: str) -> Path | None:
        """The regular file ``name``, where there is one inside the system."""
        path = self._inside(name)
        if path is None or not path.is_file():
            return None
        if path.stat().st_size > MAX_FILE:
            raise InputError("{path} is larger than anything that belongs there", path=path)
        return path

    def files(self, name: str) -> Iterator[Path]:
        """The regular files directly in the folder ``name``."""
        folder = self._inside(name)
        if folder is None or not folder.is_dir():
            return
        for count, path in enumerate(sorted(folder.iterdir())):
            if count >= MAX_FILES:
                raise InputError("{path} holds more files than anything that belongs there", path=folder)
            if (inside := self.file(f"{name}/{path.name}")) is not None:
                yield inside

    def _inside(self, name: str) -> Path | None:
        """Where ``name`` is; links are followed as the system itself would follow them."""
        at, left = self.root, [part for part in name.split("/") if part]
        for _ in range(64):
            if not left:
                return at
            part = left.pop(0)
            if part == "..":
                at = at.parent if at != self.root else at
                continue
            at = at / part
            if at.is_symlink():
                link = str(at.readlink())
                at = self.root if link.startswith("/") else at.parent
                left = [word for word in link.split("/") if word and word != "."] + left
            elif not at.exists():
                return None
        return None

    def check(self, target: Target) -> None:
        """Raise InputError where this is no Debian-like system, or another one than ``target``."""
        status = self.file(STATUS)
        if status is None or status.stat().st_size == 0:
            raise InputError(
                "{path} holds no list of installed packages (/var/lib/dpkg/status); expected an image or "
                "folder of Raspberry Pi OS or Debian",
                path=self.root,
            )
        release = self.file("etc/os-release") or self.file("usr/lib/os-release")
        found = re.search(r'^VERSION_CODENAME="?([a-z]+)', release.read_text(), re.M) if release else None
        if found and target.glibc and found[1] != target.os:
            raise InputError(
                "this system is {found}, and the kit is for {wanted}: --os {found}",
                found=found[1],
                wanted=target.os,
            )
        with status.open(encoding="utf-8", errors="replace") as lines:
            arch = next(
                (m[1] for m in map(re.compile(r"Architecture: (\S+)").match, lines) if m and m[1] != "all"),
                "",
            )
        if arch != target.arch:
            raise InputError(
                "this system is {found}, and the kit is for {wanted}; put the {wanted} image on the card",
                found=arch or "?",
                wanted=target.arch,
            )


@contextmanager
def opened(
    path: Path, work: Path, unpacking: Callable[[int], Callable[[int], None]] = lambda size: lambda done: None
) -> Iterator[BoardSystem]:
    """The system in ``path``: a folder, or an image, packed or not, which is read without root or mounts.

    work: a folder on a disk with room for the unpacked image; nothing of it is left there. unpacking: called
    with the image's size in bytes (0 where unknown), gives what is called with the bytes done.
    Raises InputError where it is neither.
    """
    if path.is_dir():
        yield BoardSystem(path.resolve())
    elif not path.exists():
        raise InputError("no such file or folder: {path}", path=path)
    else:
        source, own = open_source(path), work / OWN
        shutil.rmtree(own, ignore_errors=True)  # of a run that was killed
        try:
            own.mkdir(parents=True)
            _copy_out(source, own, unpacking)
            yield BoardSystem((own / "root").resolve())
        finally:
            shutil.rmtree(own, ignore_errors=True)


def linux_partition(head: bytes, shown: Path) -> int:
    """Byte offset of the first Linux partition by the MBR, an image's first 512 bytes. shown: for messages.

    Raises InputError where there is none.
    """
    head = head[:512]
    if len(head) == 512 and head[510:] == b"\x55\xaa":
        for entry in range(446, 510, 16):
            kind, start = head[entry + 4], struct.unpack_from("<I", head, entry + 8)[0]
            if kind == LINUX_PARTITION and start:
                return int(start) * 512
    raise InputError(
        "{path} is no SD card image: there is no Linux partition in it; expected Raspberry Pi OS as .img, "
        ".img.xz or .zip",
        path=shown,
    )


def _copy_out(source: Source, own: Path, unpacking: Callable[[int], Callable[[int], None]]) -> None:
    """Copy ``PLACES`` into ``own/root`` with debugfs, which reads ext4 without mounting it."""
    program = shutil.which("debugfs") or shutil.which("debugfs", path="/usr/sbin:/sbin")
    if program is None:
        raise MissingDependency("reading an image needs debugfs: apt install e2fsprogs")
    image = source.path
    if source.packing:
        image, tick = own / "system.img", unpacking(source.size)
        unpack(source, image, lambda head: linux_partition(head, source.path), tick)
    with image.open("rb") as file:
        offset = linux_partition(file.read(512), source.path)
    for place in PLACES:
        target = own / "root" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        # rdump puts a folder into its target; dump writes one file.
        is_folder = place in PLACES[3:]
        request = f'rdump "/{place}" "{target.parent}"' if is_folder else f'dump "/{place}" "{target}"'
        done = subprocess.run(  # noqa: S603  our own arguments, no shell
            [program, "-R", request, f"{image.absolute()}?offset={offset}"],
            capture_output=True,
            check=False,
            timeout=600,
        )
        if b"Bad magic" in done.stderr or b"Filesystem not open" in done.stderr:
            raise InputError(
                "{path}: its Linux partition cannot be read; the image is cut short or damaged: copy or "
                "download it again",
                path=source.path,
            )
        if target.is_file() and not target.stat().st_size:  # debugfs leaves an empty file for a missing one
            target.unlink()
