"""An SD card image with the layout of the official ones: MBR, FAT32 ``bootfs``, ext4 ``rootfs``; no mounts.

What is in it comes from the caller: a few files for quick tests, a whole Debian for the virtual machine.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from emulation import debian

START_MB = 4  # the boot partition begins at sector 8192, as in the official images
DISK_ID = "deadbeef"
LABEL = """label: dos
label-id: 0x{disk_id}
unit: sectors
start={boot_start}, size={boot_size}, type=c
start={root_start}, size={root_size}, type=83
"""
SECTORS_PER_MB = 2048
TOOLS = ("mcopy", "mkfs.vfat", "mkfs.ext4", "sfdisk")


def build(
    target: Path, boot: Mapping[str, bytes], root: Path, *, boot_mb: int, root_mb: int, root_shell: str = ""
) -> None:
    """Write the image. boot: the partition's files. root: a folder that becomes the root file system.

    root_shell: a file system made before (a path), instead of ``root``.
    """
    debian.need(*TOOLS)
    end = START_MB + boot_mb + root_mb
    with target.open("wb") as file:
        file.truncate(end * 1024 * 1024)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        parts = (Path(folder) / "boot.fat", Path(root_shell) if root_shell else Path(folder) / "root.ext4")
        _boot(parts[0], boot, boot_mb, Path(folder))
        if not root_shell:
            debian.run("mkfs.ext4", "-q", "-F", "-L", "rootfs", "-d", root, parts[1], f"{root_mb}M")
        for part, place in zip(parts, (START_MB, START_MB + boot_mb), strict=True):
            debian.run("dd", f"if={part}", f"of={target}", "bs=1M", f"seek={place}", "conv=notrunc,sparse")
    table = LABEL.format(
        disk_id=DISK_ID,
        boot_start=START_MB * SECTORS_PER_MB,
        boot_size=boot_mb * SECTORS_PER_MB,
        root_start=(START_MB + boot_mb) * SECTORS_PER_MB,
        root_size=root_mb * SECTORS_PER_MB,
    )
    debian.run("sfdisk", "-q", target, stdin=table)


def _boot(image: Path, files: Mapping[str, bytes], megabytes: int, folder: Path) -> None:
    with image.open("wb") as file:
        file.truncate(megabytes * 1024 * 1024)
    debian.run("mkfs.vfat", "-F", "32", "-n", "bootfs", image)
    for name, content in files.items():
        (folder / name).write_bytes(content)
        debian.run("mcopy", "-i", image, folder / name, f"::/{name}")
