"""What imago itself puts on the boot partition, in its folder ``imago/``:

firstboot.py   begins the installation (onboard/); agent.pyz does it (deploy/agent.py)
board.imago    the bundle, under a name that every file system takes, and its signature
trusted.pub    key that bundles must be signed with from now on, where one was given
kit/           wheels (and Debian packages) for the board, so that it needs no internet
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imago.deploy.agent import agent_bytes
from imago.deploy.flash.bootfs import BootFs
from imago.deploy.flash.mechanisms.common import FOLDER
from imago.deploy.kit.manifest import MANIFEST, Kit, read_kit, refuse_damaged
from imago.edge_runtime.bundle.archive import read_manifest
from imago.edge_runtime.bundle.manifest import Manifest
from imago.edge_runtime.bundle.minisign import SUFFIX, check, file_pieces, read_public_key, read_signature
from imago.edge_runtime.errors import InputError, StorageError

FIRST_BOOT = Path(__file__).resolve().parent / "onboard" / "firstboot.py"
AGENT, BUNDLE, TRUSTED = "agent.pyz", "board.imago", "trusted.pub"
# What a bundle's extras need of a kit: the beginning of a wheel's name.
WHEEL_OF = {"camera": "opencv_python", "litert": "ai_edge_litert", "mqtt": "paho_mqtt", "sign": "pynacl"}
KIT = "kit"
ARCH = "arm64"  # what every image that is taken has (examine)
SPARE = 48 << 20  # left free: the first update of the kernel needs some


@dataclass(frozen=True, slots=True)
class Payload:
    """files: to put on the partition: name there → file here, or its content. kit: where it is from.

    system: release and architecture that the kit is for.
    """

    files: dict[str, Path | bytes]
    kit: Path
    system: tuple[str, str]

    def sizes(self) -> list[tuple[str, int]]:
        """Names and sizes in bytes."""
        return [(name, _size(content)) for name, content in self.files.items()]

    def check_system(self, release: str) -> None:
        """Raise InputError where the kit is for another system than the image's."""
        if self.system != (release, ARCH):
            raise InputError(
                "the kit {kit} is for {found}, the image is {release} arm64; make one with imago kit --os "
                "{release}",
                kit=self.kit,
                found=" ".join(self.system),
                release=release,
            )


def gather(bundle: Path, kit: Path, trust: Path | None) -> Payload:
    """Bundle and kit, looked at before anything is unpacked or copied. Raises BundleError, InputError."""
    manifest = read_manifest(bundle)
    made = read_kit(kit)
    refuse_damaged(kit, made)
    files: dict[str, Path | bytes] = {AGENT: agent_bytes(), FIRST_BOOT.name: FIRST_BOOT, BUNDLE: bundle}
    signature = bundle.with_name(f"{bundle.name}{SUFFIX}")
    if signature.is_file():
        files[f"{BUNDLE}{SUFFIX}"] = signature
    if trust is not None:  # better now than on a board that then takes nothing
        check(file_pieces(bundle), read_signature(signature), read_public_key(trust))
        files[TRUSTED] = trust
    for name in (MANIFEST, *(file.path for file in made.files)):
        files[f"{KIT}/{name}"] = kit / name
    _check_packages(manifest, made, kit)
    placed = {f"{FOLDER}/{name}": content for name, content in files.items()}
    return Payload(placed, kit, (str(made.target.get("os")), str(made.target.get("arch"))))


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


def _check_packages(manifest: Manifest, made: Kit, kit: Path) -> None:
    """Raise InputError where the bundle needs a package that the kit lacks."""
    wanted = [WHEEL_OF[extra] for extra in manifest.extras]
    if all(variant.engine == "onnxruntime" for variant in manifest.variants):
        wanted.append("onnxruntime")
    wheels = [file.path.rpartition("/")[2].lower() for file in made.files]
    for name in wanted:
        if not any(wheel.startswith(name) for wheel in wheels):
            raise InputError(
                "the bundle needs {package}, which the kit {kit} lacks; make the kit anew (imago kit --help)",
                package=name.replace("_", "-"),
                kit=kit,
            )
