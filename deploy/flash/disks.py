"""Which disks are here, and which of them may be overwritten: facts from /sys and /proc alone (Linux)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imago.edge_runtime.errors import InputError

SECTOR = 512  # of /sys/class/block/*/size, whatever the disk's own is
MAX_CARD = 256_000_000_000  # bytes; larger ones are somebody's backup more often than a camera's card


@dataclass(frozen=True, slots=True)
class System:
    """Where the kernel tells; tests give folders of their own."""

    sys: Path = Path("/sys")
    proc: Path = Path("/proc")


@dataclass(frozen=True, slots=True)
class Disk:
    """A whole disk. size: bytes; mounts: where it or a part of it is mounted; users: what else holds it."""

    name: str
    size: int
    model: str
    portable: bool
    read_only: bool
    mounts: tuple[str, ...]
    users: tuple[str, ...]

    @property
    def device(self) -> str:
        """Its path in /dev."""
        return f"/dev/{self.name}"

    def refuse(self, need: int) -> None:
        """Raise InputError where it must not, or cannot, take an image of ``need`` bytes."""
        facts = {"device": self.device, "model": self.model, "size": self.size / 1e9}
        if self.mounts:
            raise InputError(
                "{device} ({model}) is in use: mounted at {mounts}; if it is the right one, unmount it first "
                "(umount {device}?*)",
                mounts=", ".join(self.mounts[:4]),
                **facts,
            )
        if self.users:
            raise InputError(
                "{device} ({model}) is in use by {users}; it is not a card",
                users=", ".join(self.users[:4]),
                **facts,
            )
        if not self.portable:
            raise InputError(
                "{device} ({model}, {size:.0f} GB) is built in, not a card or USB stick; imago flash --list "
                "shows those",
                **facts,
            )
        if self.read_only:
            raise InputError(
                "{device} ({model}) is write-protected; move the little switch at the card's edge", **facts
            )
        if self.size > MAX_CARD:
            raise InputError(
                "{device} ({model}) has {size:.0f} GB, more than a camera's card ({limit} GB at most); "
                "take another "
                "one",
                limit=MAX_CARD // 10**9,
                **facts,
            )
        if self.size < need:
            raise InputError(
                "{device} ({model}) has {have} MB, the image needs {need} MB: take a larger card",
                have=self.size // 1_000_000,
                need=-(-need // 1_000_000),
                **facts,
            )


def disk_at(device: Path, system: System = System()) -> Disk:
    """The disk behind a path in /dev. Raises InputError where there is none, or it is a part of one."""
    name = device.resolve().name if device.is_symlink() else device.name
    place = system.sys / "class" / "block" / name
    if not place.is_dir():
        raise InputError(
            "{device} is no disk; imago flash --list shows the cards that are here", device=device
        )
    if (place / "partition").exists():
        raise InputError(
            "{device} is a partition; give the whole disk ({whole})",
            device=device,
            whole=f"/dev/{place.resolve().parent.name}",
        )
    return _disk(name, system)


def disks(system: System = System()) -> Iterator[Disk]:
    """Every whole disk that holds something."""
    for place in sorted((system.sys / "class" / "block").glob("*")):
        if not (place / "partition").exists() and place.name.startswith(("sd", "mmcblk", "nvme", "vd", "hd")):
            found = _disk(place.name, system)
            if found.size:
                yield found


def _disk(name: str, system: System) -> Disk:
    place = system.sys / "class" / "block" / name
    parts = [place, *(path for path in place.resolve().glob("*") if (path / "partition").exists())]
    numbers = {_read(part / "dev") for part in parts} - {""}
    usb = "/usb" in str(place.resolve())
    boot_area = "boot" in name or name.endswith("rpmb")
    card = name.startswith("mmcblk") and not boot_area
    return Disk(
        name=name,
        size=int(_read(place / "size") or 0) * SECTOR,
        model=" ".join(
            (
                _read(place / "device" / "vendor"),
                _read(place / "device" / "model") or _read(place / "device" / "name"),
            )
        ).strip()
        or "?",
        portable=usb or card or _read(place / "removable") == "1",
        read_only=_read(place / "ro") == "1",
        mounts=tuple(_mounts(numbers, system)),
        users=tuple(_users(parts, system)),
    )


def _mounts(numbers: set[str], system: System) -> Iterator[str]:
    """Mount points of these device numbers (proc(5), mountinfo: fields 3 and 5)."""
    for line in _read(system.proc / "self" / "mountinfo").splitlines():
        words = line.split(" ")
        if len(words) > 5 and words[2] in numbers:
            yield words[4].encode().decode("unicode_escape")


def _users(parts: list[Path], system: System) -> Iterator[str]:
    """Device mapper, RAID and swap on a disk or its partitions."""
    for part in parts:
        yield from (path.name for path in sorted((part / "holders").glob("*")))
    names = {f"/dev/{part.name}" for part in parts}
    for line in _read(system.proc / "swaps").splitlines()[1:]:
        if line.split()[0] in names:
            yield "swap"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
