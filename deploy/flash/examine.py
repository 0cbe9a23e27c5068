"""What system an image holds, and how it wants to be set up; or one clear line why it cannot be used."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from imago.deploy.flash.bootfs import BootFs
from imago.deploy.flash.partitions import Layout, check_length, read_layout, wrong
from imago.deploy.flash.rootfs import RootFs
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr

HEAD = 64 * 1024
# Where a release mounts the boot partition, and its Python: older ones have neither.
SUPPORTED = ("bookworm", "trixie", "forky")
ISSUE = "issue.txt"  # what Raspberry Pi's image builder writes: "Raspberry Pi reference 2025-10-01 …"
ISSUE_WORDS = "Raspberry Pi reference"
PROGRAM = "/usr/bin/dash"  # a program of the system's own architecture
ELF, ELF_CLASS, ELF_MACHINE = b"\x7fELF", 4, slice(18, 20)
MACHINES = {183: "arm64", 40: "armhf", 62: "amd64", 3: "i386"}
RELEASE = re.compile(r'^(ID|PRETTY_NAME|VERSION_CODENAME)="?([^"\n]{1,100})"?$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Image:
    """An unpacked image that can be used. release: Debian's code name; mechanism: see ``mechanisms``."""

    path: Path
    layout: Layout
    boot: BootFs
    release: str
    reference: str
    mechanism: str


def check_head(head: bytes, shown: Path) -> None:
    """Raise InputError where the beginning of a file cannot be that of a Raspberry Pi image."""
    read_layout(head[:HEAD], shown)


def examine(path: Path, shown: Path) -> Image:
    """Look into an unpacked image. shown: the user's own file, for messages. Raises InputError."""
    with path.open("rb") as file:
        layout = read_layout(file.read(HEAD), shown)
        check_length(layout, file.seek(0, 2), shown)
    boot = BootFs.of(path, layout.boot, shown)
    root = RootFs(path, layout.root)
    root.check()
    facts = dict(RELEASE.findall(_text(root.read("/usr/lib/os-release"))))
    name, release = facts.get("PRETTY_NAME", "?"), facts.get("VERSION_CODENAME", "?")
    reference = _text(boot.read(ISSUE)).partition("\n")[0].strip()
    if not reference.startswith(ISSUE_WORDS):
        raise wrong(shown, name)
    _check_machine(root, shown)
    if release not in SUPPORTED:
        raise InputError(
            "{path} holds {name}, which is too old or unknown to this imago; expected Raspberry Pi OS "
            "bookworm or "
            "trixie",
            path=shown,
            name=name,
        )
    return Image(path, layout, boot, release, reference, _mechanism(root, release, shown))


def _check_machine(root: RootFs, shown: Path) -> None:
    program = root.read(PROGRAM) or b""
    if not program.startswith(ELF):
        raise wrong(shown, tr("its root file system is empty or incomplete"))
    machine = MACHINES.get(int.from_bytes(program[ELF_MACHINE], "little"), "?")
    if machine == "armhf":
        raise InputError(
            "{path} is a 32-bit system (armhf), for which ONNX Runtime and LiteRT do not exist; take the "
            "64-bit "
            "image: Zero 2 W, 3, 4 and 5 run it",
            path=shown,
        )
    if machine != "arm64":
        raise wrong(shown, tr("a system for {machine} processors", machine=machine))


def _mechanism(root: RootFs, release: str, shown: Path) -> str:
    """The newest one that the image has: first there was firstrun, then cloud-init, then rpi-preseed."""
    if root.exists("/usr/bin/rpi-preseed"):
        return "rpi-preseed"
    if root.exists("/usr/bin/cloud-init"):
        return "cloud-init"
    if release == "bookworm":
        return "firstrun"
    raise InputError(
        "{path} ({release}) has neither cloud-init nor rpi-preseed: it cannot be set up from outside; "
        "take the "
        "official Raspberry Pi OS Lite image",
        path=shown,
        release=release,
    )


def _text(content: bytes | None) -> str:
    return (content or b"").decode("utf-8", "replace")
