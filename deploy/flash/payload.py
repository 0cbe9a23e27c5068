"""What imago itself puts on the boot partition, in its folder ``imago/``:

firstboot.py   begins the installation (onboard/); agent.pyz does it (deploy/agent.py)
board.imago    the bundle, under a name that every file system takes, and its signature
trusted.pub    key that bundles must be signed with from now on, where one was given
kit/           wheels (and Debian packages) for the board, so that it needs no internet
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from imago.deploy.agent import agent_bytes
from imago.deploy.flash.bootfs import BootFs
from imago.deploy.flash.mechanisms.common import FOLDER
from imago.edge_runtime.bundle.archive import read_manifest
from imago.edge_runtime.bundle.minisign import SUFFIX, check, file_pieces, read_public_key, read_signature
from imago.edge_runtime.errors import InputError, StorageError

FIRST_BOOT = Path(__file__).resolve().parent / "onboard" / "firstboot.py"
AGENT, BUNDLE, TRUSTED = "agent.pyz", "board.imago", "trusted.pub"
# What a bundle's extras need of a kit: the beginning of a wheel's name.
WHEEL_OF = {"camera": "opencv_python", "litert": "ai_edge_litert", "mqtt": "paho_mqtt", "sign": "pynacl"}
KIT, KIT_FILE, MAX_KIT_FILE, MAX_FILES = "kit", "kit.json", 1 << 20, 2000
SPARE = 48 << 20  # left free: the first update of the kernel needs some
MAX_FILE = (4 << 30) - 1  # FAT32


@dataclass(frozen=True, slots=True)
class Payload:
    """Files to put on the partition: name there → file here, or its content."""

    files: dict[str, Path | bytes]

    def sizes(self) -> list[tuple[str, int]]:
        """Names and sizes in bytes."""
        return [(name, _size(content)) for name, content in self.files.items()]


def gather(bundle: Path, kit: Path, trust: Path | None, release: str) -> Payload:
    """Bundle and kit, looked at before anything is copied. Raises BundleError, InputError."""
    manifest = read_manifest(bundle)
    files: dict[str, Path | bytes] = {AGENT: agent_bytes(), FIRST_BOOT.name: FIRST_BOOT, BUNDLE: bundle}
    signature = bundle.with_name(f"{bundle.name}{SUFFIX}")
    if signature.is_file():
        files[f"{BUNDLE}{SUFFIX}"] = signature
    if trust is not None:  # better now than on a board that then takes nothing
        check(file_pieces(bundle), read_signature(signature), read_public_key(trust))
        files[TRUSTED] = trust
    for name, path in _kit_files(kit, release).items():
        files[f"{KIT}/{name}"] = path
    _check_extras(manifest.extras, files, kit)
    return Payload({f"{FOLDER}/{name}": content for name, content in files.items()})


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
    for name, content in payload.files.items():
        parts = name.split("/")[:-1]
        for folder in ("/".join(parts[: n + 1]) for n in range(len(parts))):
            if folder not in made:
                boot.make_folder(folder)
                made.add(folder)
        if isinstance(content, bytes):
            boot.write(name, content)
        else:
            boot.copy(content, name)
        tick(_size(content))


def _size(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _check_extras(extras: tuple[str, ...], files: Iterable[str], kit: Path) -> None:
    """Raise InputError where the bundle needs a package that the kit lacks."""
    wheels = [name.rpartition("/")[2].lower() for name in files if name.endswith(".whl")]
    for extra in extras:
        if not any(wheel.startswith(WHEEL_OF[extra]) for wheel in wheels):
            raise InputError(
                "the bundle needs {package}, which the kit {kit} lacks; make the kit anew (imago kit --help)",
                package=WHEEL_OF[extra].replace("_", "-"),
                kit=kit,
            )


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
