"""What imago itself puts on the boot partition, in its folder ``imago/``:

agent.py, firstboot.py  the programs that install it, from deploy/board/
board.imago             the bundle, under a name that every file system takes
kit/                    wheels (and Debian packages) for the board, so that it needs no internet
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imago.deploy.flash.bootfs import BootFs
from imago.deploy.flash.mechanisms.common import FOLDER
from imago.edge_runtime.bundle.archive import read_manifest
from imago.edge_runtime.errors import InputError, StorageError

BOARD = Path(__file__).resolve().parent.parent / "board"
PROGRAMS = ("agent.py", "firstboot.py")
BUNDLE = "board.imago"
KIT, KIT_FILE, MAX_KIT_FILE, MAX_FILES = "kit", "kit.json", 1 << 20, 2000
SPARE = 48 << 20  # left free: the first update of the kernel needs some
MAX_FILE = (4 << 30) - 1  # FAT32


@dataclass(frozen=True, slots=True)
class Payload:
    """Files to copy: name on the partition → file here."""

    files: dict[str, Path]

    def sizes(self) -> list[tuple[str, int]]:
        """Names and sizes in bytes."""
        return [(name, path.stat().st_size) for name, path in self.files.items()]


def gather(bundle: Path, kit: Path | None, release: str) -> Payload:
    """The bundle and the kit, looked at before anything is copied. Raises BundleError, InputError."""
    read_manifest(bundle)
    files = {name: BOARD / name for name in PROGRAMS} | {BUNDLE: bundle}
    if kit is not None:
        files |= {f"{KIT}/{name}": path for name, path in _kit_files(kit, release).items()}
    return Payload({f"{FOLDER}/{name}": path for name, path in files.items()})


def put(payload: Payload, boot: BootFs, shown: Path, tick: Callable[[int], None]) -> None:
    """Copy it onto the partition. Raises StorageError before the first byte where it does not fit."""
    need, free = boot.need(payload.sizes()), boot.free()
    if need + SPARE > free:
        raise StorageError(
            "bundle and kit need {need} MB on the card's boot partition, {path} has {free} MB there; make "
            "a smaller "
            "kit (imago kit --camera, --engine), or fewer models in the bundle",
            need=-(-(need + SPARE) // 1_000_000),
            path=shown.name,
            free=free // 1_000_000,
        )
    made: set[str] = set()
    for name, path in payload.files.items():
        parts = name.split("/")[:-1]
        for folder in ("/".join(parts[: n + 1]) for n in range(len(parts))):
            if folder not in made:
                boot.make_folder(folder)
                made.add(folder)
        boot.copy(path, name)
        tick(path.stat().st_size)


def _kit_files(kit: Path, release: str) -> dict[str, Path]:
    """Every file of a kit folder. Raises InputError where it is none, or one for another system."""
    system = _kit_system(kit)
    if system != (release, "arm64"):
        raise InputError(
            "the kit {kit} is for {found}, the image is {release} arm64; make one with imago kit --os "
            "{release}",
            kit=kit,
            found=" ".join(system),
            release=release,
        )
    found = sorted(path for path in kit.rglob("*") if not path.is_dir())
    for path in found:
        inside = path.is_file() and not path.is_symlink() and not path.parent.is_symlink()
        if not inside or path.stat().st_size > MAX_FILE or len(found) > MAX_FILES:
            raise InputError("{kit} is no kit: {path} does not belong into one", kit=kit, path=path.name)
    return {path.relative_to(kit).as_posix(): path for path in found}


def _kit_system(kit: Path) -> tuple[str, str]:
    try:
        with (kit / KIT_FILE).open("rb") as file:
            target = json.loads(file.read(MAX_KIT_FILE))["target"]
        return str(target["os"]), str(target["arch"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            "{kit} is no whole kit; expected a folder that imago kit has made", kit=kit
        ) from error
