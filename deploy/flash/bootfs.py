"""The image's boot partition (FAT32, ``bootfs``): its free space, and files in and out through mtools.

Contents go through pipes: nothing of them is ever on a command line or in a temporary file.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from imago.deploy.flash.partitions import Partition, wrong
from imago.deploy.flash.tools import run_tool
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr

NOT_FOUND = b"not found"  # "File … not found"
MAX_FAT = 64 << 20
FAT32_ENTRY = 4
DIRECTORY_ENTRY = 32
NAME_CHARACTERS = 13  # of a long name in one directory entry


@dataclass(frozen=True, slots=True)
class BootFs:
    """The first partition of an image. cluster: bytes of a unit; fat: its table's place and length."""

    image: Path
    partition: Partition
    label: str
    cluster: int
    fat: tuple[int, int]
    clusters: int

    @classmethod
    def of(cls, image: Path, partition: Partition, shown: Path) -> BootFs:
        """Read the boot sector (Microsoft, FAT32 File System Specification 1.03). Raises InputError."""
        with image.open("rb") as file:
            file.seek(partition.start)
            head = file.read(512)
        if head[82:90] != b"FAT32   " or head[510:512] != b"\x55\xaa":
            raise wrong(shown, tr("its first partition is not FAT32"))
        sector, per_cluster, reserved, fats = _u(head, 11, 2), head[13], _u(head, 14, 2), head[16]
        sectors, fat_sectors = _u(head, 32, 4), _u(head, 36, 4)
        sound = sector in (512, 1024, 2048, 4096) and per_cluster and reserved and fats in (1, 2)
        if not sound or fat_sectors * sector > MAX_FAT or sectors * sector > partition.size:
            raise wrong(shown, tr("its first partition is not FAT32"))
        clusters = (sectors - reserved - fats * fat_sectors) // per_cluster
        label = head[71:82].decode("ascii", "replace").strip()
        place = partition.start + reserved * sector
        return cls(
            image, partition, label, per_cluster * sector, (place, fat_sectors * sector), max(0, clusters)
        )

    def free(self) -> int:
        """Free bytes, counted in the table: the stored figure is only a hint."""
        place, length = self.fat
        with self.image.open("rb") as file:
            file.seek(place)
            table = file.read(min(length, (self.clusters + 2) * FAT32_ENTRY))
        entries = array("I", table[: len(table) // FAT32_ENTRY * FAT32_ENTRY])
        return entries[2:].count(0) * self.cluster

    def need(self, files: Iterable[tuple[str, int]]) -> int:
        """Bytes that files of these names and sizes take up: whole clusters, and directory entries."""
        total, folders = 0, {PurePosixPath()}
        entries = 0
        for name, size in files:
            total += -(-size // self.cluster) * self.cluster
            path = PurePosixPath(name)
            for part in (path, *path.parents):
                if part != path and part in folders:
                    break
                entries += 2 + len(part.name) // NAME_CHARACTERS
                folders.add(part)
        return total + (len(folders) + -(-entries * DIRECTORY_ENTRY // self.cluster)) * self.cluster

    def read(self, name: str) -> bytes | None:
        """A small file, or None."""
        return run_tool(
            ("mtype", "-i", self._drive, f"::/{name}"), folder=self.image.parent, missing=NOT_FOUND
        )

    def write(self, name: str, content: bytes) -> None:
        """Write a file, replacing one of the same name."""
        if (
            run_tool(("mcopy", "-o", "-i", self._drive, "-", f"::/{name}"), content, folder=self.image.parent)
            is None
        ):
            raise InputError("the image has no folder for {name}", name=name)

    def make_folder(self, name: str) -> None:
        """Make a folder whose parent exists."""
        run_tool(("mmd", "-i", self._drive, f"::/{name}"), folder=self.image.parent)

    def copy(self, source: Path, name: str) -> None:
        """Copy a file of any size into the partition."""
        run_tool(
            ("mcopy", "-o", "-i", self._drive, str(source.resolve()), f"::/{name}"), folder=self.image.parent
        )

    @property
    def _drive(self) -> str:
        return f"{self.image.name}@@{self.partition.start}"


def _u(data: bytes, at: int, count: int) -> int:
    return int.from_bytes(data[at : at + count], "little")
