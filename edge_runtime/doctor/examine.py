"""The whole examination: read what the system says, hand it to the checks, collect their findings."""

from __future__ import annotations

import os
import platform
import shutil
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from imago.edge_runtime.doctor import camera, cpu, environment, power, probes, storage
from imago.edge_runtime.doctor.findings import Finding, Report
from imago.edge_runtime.system import command_output, read_condition, read_text

APT_MODULES = Path("usr/lib/python3/dist-packages")


def examine(
    folder: Path | str = ".",
    models: Sequence[str] = (),
    *,
    root: Path = Path("/"),
    begin: Callable[[str], None] = lambda name: None,
) -> Report:
    """Examine this machine; nothing is changed and no engine is imported into this process.

    folder: whose disk is looked at. models: files whose self-test is run. root: where /proc and /sys are
    looked for. begin: is told the name of what is tried next, since libraries may take seconds.
    """
    board = cpu.read_cpu(read_text(root / "proc/cpuinfo") or "", read_text(root / "proc/device-tree/model"))
    is_pi = "Raspberry Pi" in board.board
    findings = [
        *_hardware(board, root),
        *_storage(Path(folder), root),
        *camera_part(root, is_pi),
        *_libraries(root, is_pi, begin),
    ]
    for model in models:
        begin(model)
        findings.append(probes.model_finding(model))
    return Report.of(findings)


def _hardware(board: cpu.Cpu, root: Path) -> Iterator[Finding]:
    is_pi = "Raspberry Pi" in board.board
    yield from cpu.board_findings(board, read_text(root / "proc/meminfo") or "")
    yield from cpu.bits_findings(platform.machine(), 8 * struct.calcsize("P"))
    yield from cpu.cpu_findings(board)
    yield from cpu.governor_findings(read_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))
    yield from power.throttle_findings(command_output("vcgencmd", "get_throttled"), is_pi)
    yield from power.temperature_findings(read_condition(root).temperature_c)
    supply = root / "proc/device-tree/chosen/power/max_current"
    yield from power.supply_findings(board.board, supply.read_bytes() if supply.is_file() else None)


def _storage(folder: Path, root: Path) -> Iterator[Finding]:
    usage = shutil.disk_usage(folder)
    yield from storage.space_findings(str(folder.resolve()), usage.free, usage.total)
    yield from storage.mount_findings(read_text(root / "proc/mounts") or "")
    counters = sorted((root / "sys/fs/ext4").glob("*/errors_count"))
    yield from storage.health_findings(
        {path.parent.name: read_text(path) or "" for path in counters},
        read_text(root / "sys/block/mmcblk0/device/life_time"),
        read_text(root / "proc/swaps") or "",
    )
    has_rtc = (root / "dev/rtc0").exists()
    yield from storage.clock_findings(
        command_output("timedatectl", "show"), time.localtime().tm_year, has_rtc
    )


def camera_part(root: Path, is_pi: bool) -> Iterator[Finding]:
    """Cameras on USB and on the ribbon cable, and the memory for their pictures."""
    names = sorted((root / "sys/class/video4linux").glob("video*/name"))
    nodes = {f"/dev/{path.parent.name}": read_text(path) or "?" for path in names}
    found = list(camera.device_findings(nodes, {path: os.access(path, os.R_OK) for path in nodes}))
    listing = command_output("rpicam-hello", "--list-cameras", timeout=20) if is_pi else None
    found += camera.ribbon_findings(listing, is_pi, bool(found))
    yield from found
    yield from camera.no_camera_findings(found)
    yield from camera.cma_findings(read_text(root / "proc/meminfo") or "", is_pi)


def _libraries(root: Path, is_pi: bool, begin: Callable[[str], None]) -> Iterator[Finding]:
    env = read_environment(root)
    yield from environment.environment_findings(env, is_pi)
    there = [library for library in probes.LIBRARIES if probes.installed(library)]
    found = []
    for library in there:
        begin(library.package)
        found.append(probes.try_library(library))
    yield from found
    yield from probes.engine_findings(found)
    has_picamera2 = any(library.package == "picamera2" for library in there)
    yield from environment.picamera2_findings(env, has_picamera2, is_pi)


def read_environment(root: Path = Path("/")) -> environment.Environment:
    """This interpreter, and what apt has beside it."""
    inside = sys.prefix != sys.base_prefix
    libraries = root / "usr/lib"
    versions = sorted(
        path.name.removeprefix("python") for path in libraries.glob("python3.*") if path.is_dir()
    )
    default = (root / "usr/bin/python3").resolve().name.removeprefix("python")
    return environment.Environment(
        version=platform.python_version(),
        pyvenv=read_text(Path(sys.prefix) / "pyvenv.cfg") or "" if inside else None,
        managed=any((libraries / f"python{v}" / "EXTERNALLY-MANAGED").exists() for v in versions),
        system_python=default if "." in default else None,
        apt_picamera2=(root / APT_MODULES / "picamera2").is_dir(),
    )
