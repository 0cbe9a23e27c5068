"""The partition table of an image: a master boot record with a FAT and a Linux partition."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr

SECTOR = 512
TABLE, ENTRY, ENTRIES = 446, 16, 4
SIGNATURE = b"\x55\xaa"
FAT_TYPES = (0x0B, 0x0C)
LINUX_TYPE = 0x83
GPT_TYPE = 0xEE
ISO_PLACE, ISO_MAGIC = 0x8001, b"CD001"


@dataclass(frozen=True, slots=True)
class Partition:
    """Place and size in bytes. kind: the type byte of the table."""

    kind: int
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the two partitions of a Raspberry Pi image lie, and its disk identifier in hexadecimal."""

    boot: Partition
    root: Partition
    disk_id: str

    @property
    def end(self) -> int:
        """First byte behind the last partition."""
        return max(part.start + part.size for part in (self.boot, self.root))


def read_layout(head: bytes, path: Path) -> Layout:
    """The layout from the first bytes of an image. Raises InputError that says what it is instead.

    head: at least the first 40 kB, where the file is as long.
    """
    if head[ISO_PLACE : ISO_PLACE + len(ISO_MAGIC)] == ISO_MAGIC:
        raise wrong(path, tr("an installation disc (ISO)"))
    if len(head) < SECTOR or head[SECTOR - 2 : SECTOR] != SIGNATURE:
        raise wrong(path, tr("a file without a partition table"))
    parts = [_entry(head, number) for number in range(ENTRIES)]
    if parts[0].kind == GPT_TYPE:
        raise wrong(path, tr("a disk image for another kind of machine (GPT)"))
    if parts[0].kind not in FAT_TYPES or parts[1].kind != LINUX_TYPE:
        kinds = " ".join(f"{part.kind:02x}" for part in parts if part.kind)
        raise wrong(path, tr("a disk image with partitions of type {kinds}", kinds=kinds or "–"))
    return Layout(parts[0], parts[1], f"{int.from_bytes(head[440:444], 'little'):08x}")


def check_length(layout: Layout, length: int, path: Path) -> None:
    """Raise InputError where the image ends before its last partition does."""
    if layout.end > length:
        raise InputError(
            "{path} is cut short: {done} of {size} bytes; download it again",
            path=path,
            done=length,
            size=layout.end,
        )


def wrong(path: Path, what: str) -> InputError:
    """The error for an image of something else."""
    return InputError(
        "{path} is not a Raspberry Pi OS image ({what}); take Raspberry Pi OS Lite (64-bit) from "
        "raspberrypi.com/software",
        path=path,
        what=what,
    )


def _entry(head: bytes, number: int) -> Partition:
    entry = head[TABLE + number * ENTRY : TABLE + (number + 1) * ENTRY]
    start, sectors = (int.from_bytes(entry[at : at + 4], "little") for at in (8, 12))
    return Partition(entry[4], start * SECTOR, sectors * SECTOR)
