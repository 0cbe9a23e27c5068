"""The board before anything is changed: can it become an imago board at all? A verdict with remedies."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from imago.deploy.board.debs import findings as debs_findings
from imago.edge_runtime.bundle.manifest import Manifest
from imago.edge_runtime.doctor import cpu, storage
from imago.edge_runtime.doctor.examine import camera_part
from imago.edge_runtime.doctor.findings import Finding, Report
from imago.edge_runtime.messages import tr
from imago.edge_runtime.system import read_text

INSTALL_MB = 400  # numpy, onnxruntime, pillow: 130 MB unpacked on aarch64; OpenCV another 110
MACHINES = ("aarch64", "x86_64")
CAMERAS = ("picamera", "/dev/video")


def verdict(
    root: Path,
    manifest: Manifest | None = None,
    *,
    debs: Sequence[str] = (),
    system: Path = Path("/"),
) -> Report:
    """Everything that would stand in the way. root: the board's folder; debs: file names of a kit's Debian
    packages; system: where /proc and /sys are."""
    board = cpu.read_cpu(
        read_text(system / "proc/cpuinfo") or "", read_text(system / "proc/device-tree/model")
    )
    meminfo = read_text(system / "proc/meminfo") or ""
    return Report.of(
        [
            *cpu.board_findings(board, meminfo),
            *cpu.bits_findings(platform.machine(), 8 * struct.calcsize("P")),
            *machine_findings(platform.machine()),
            *python_findings(),
            *_space(root, system),
            *rights_findings(root),
            *systemd_findings(system),
            *needs_findings(manifest, board, meminfo),
            *debs_findings(debs),
            *camera_part(system, "Raspberry Pi" in board.board),
        ]
    )


def has_camera(system: Path = Path("/")) -> bool:
    """Whether a camera is plugged in, as far as can be seen without opening it."""
    board = cpu.read_cpu(
        read_text(system / "proc/cpuinfo") or "", read_text(system / "proc/device-tree/model")
    )
    found = camera_part(system, "Raspberry Pi" in board.board)
    return any(f.check in ("camera.usb", "camera.ribbon") and f.level == "ok" for f in found)


def wants_camera(source: str | None) -> bool:
    """Whether ``--source`` names a camera that has to be plugged in here."""
    return source is not None and (source.startswith(CAMERAS) or source.isdigit())


def machine_findings(machine: str) -> Iterator[Finding]:
    """Wheels exist for these two."""
    if machine not in MACHINES and not machine.startswith("armv"):  # 32-bit ARM has its own finding
        yield Finding(
            "board.machine",
            "problem",
            tr("a processor of the kind {machine}", machine=machine),
            tr("imago runs on 64-bit ARM (aarch64) and on x86-64"),
        )


def python_findings(version: tuple[int, int, int] = sys.version_info[:3]) -> Iterator[Finding]:
    """Which Python, and whether it can make virtual environments."""
    shown = ".".join(map(str, version))
    if version < (3, 11):
        yield Finding(
            "python.version",
            "problem",
            tr("Python {version}; imago needs 3.11 or newer", version=shown),
            tr("write a current image of Raspberry Pi OS (bookworm or trixie) to the card"),
        )
        return
    yield Finding("python.version", "ok", tr("Python {version}", version=shown))
    if importlib.util.find_spec("venv") is None:
        yield Finding(
            "python.venv",
            "problem",
            tr("this Python cannot make virtual environments"),
            tr("sudo apt install python3-venv"),
        )


def rights_findings(root: Path) -> Iterator[Finding]:
    """May we write there?"""
    place = root
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK):
        yield Finding(
            "board.rights",
            "problem",
            tr("no right to write to {path}", path=place),
            tr("log in as a user with sudo, or as root"),
        )


def systemd_findings(system: Path) -> Iterator[Finding]:
    """Who will start the service after a power cut?"""
    if (system / "run/systemd/system").is_dir():
        yield Finding("board.systemd", "ok", tr("systemd will keep the service running"))
    else:
        yield Finding(
            "board.systemd",
            "warning",
            tr("no systemd here: the program is supervised by imago, but nothing starts it after a reboot"),
            tr("call 'python3 agent.pyz repair --no-systemd' at boot (cron: @reboot)"),
        )


def needs_findings(manifest: Manifest | None, board: cpu.Cpu, meminfo: str) -> Iterator[Finding]:
    """What this very bundle asks for."""
    if manifest is None:
        return
    needs = manifest.needs
    if platform.machine() not in needs.machines:
        yield Finding(
            "bundle.machine",
            "problem",
            tr("the bundle is for {wanted}, this is {found}",
               wanted="/".join(needs.machines), found=platform.machine()),
            tr("make a bundle for this kind of board"),
        )  # fmt: skip
    wanted = tuple(int(part) for part in needs.python.split("."))
    if sys.version_info[:2] < wanted:
        yield Finding(
            "bundle.python",
            "problem",
            tr("the bundle asks for Python {wanted}, the board has {found}",
               wanted=needs.python, found=platform.python_version()),
            tr("write a current image of Raspberry Pi OS (bookworm or trixie) to the card"),
        )  # fmt: skip
    missing = [word for word in needs.features if word.lower() not in board.features]
    if missing:
        yield Finding(
            "bundle.features",
            "problem",
            tr("the bundle needs processor features that are missing here: {names}", names=" ".join(missing)),
            tr("make a bundle without --need-feature, or use a newer board"),
        )
    words = next((line.split() for line in meminfo.splitlines() if line.startswith("MemTotal:")), [])
    total = int(words[1]) // 1000 if len(words) > 1 and words[1].isdigit() else None
    if total is not None and total < needs.memory_mb:
        yield Finding(
            "bundle.memory",
            "problem",
            tr("the bundle asks for {wanted} MB of memory, the board has {found}",
               wanted=needs.memory_mb, found=total),
            tr("use a smaller model, or a board with more memory"),
        )  # fmt: skip


def _space(root: Path, system: Path) -> Iterator[Finding]:
    place = root
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    installed = any(root.glob("envs/*/.ready"))
    wanted = (50 if installed else INSTALL_MB) * 10**6
    if usage.free < wanted:
        yield Finding(
            "disk.space",
            "problem",
            tr("{free} MB are free in {path}, {wanted} MB are needed",
               free=usage.free // 10**6, path=place, wanted=wanted // 10**6),
            tr("remove what is not needed (sudo apt clean, old crops), or use a larger card"),
        )  # fmt: skip
    else:
        yield from storage.space_findings(str(place), usage.free, usage.total)
    yield from storage.mount_findings(read_text(system / "proc/mounts") or "")
