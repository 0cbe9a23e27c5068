"""What a measurement must say about the machine it was made on (Linux; elsewhere what Python knows)."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

# Bits of `vcgencmd get_throttled` (Raspberry Pi documentation, "vcgencmd").
THROTTLE_BITS = {
    0: "under-voltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
    16: "under-voltage has occurred",
    17: "frequency capping has occurred",
    18: "throttling has occurred",
    19: "soft temperature limit has occurred",
}
ARM_PARTS = {"0xd03": "Cortex-A53", "0xd08": "Cortex-A72", "0xd0b": "Cortex-A76"}
PACKAGES = (
    "imago-edge",
    "numpy",
    "onnxruntime",
    "ai-edge-litert",
    "tflite-runtime",
    "opencv-python-headless",
    "pillow",
)


@dataclass(frozen=True, slots=True)
class Condition:
    """What changes while measuring. temperature_c: hottest thermal zone; clock_mhz: of cpu0, now.

    throttled: Raspberry Pi's flags in words; None where they cannot be read.
    """

    temperature_c: float | None
    clock_mhz: float | None
    throttled: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class System:
    """What stays the same while measuring."""

    board: str | None
    cpu: str
    cores: int
    memory_mb: int | None
    machine: str
    os: str
    kernel: str
    python: str
    governor: str | None
    versions: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain keys for JSON."""
        return asdict(self)


def read_system(root: Path = Path("/")) -> System:
    """Describe this machine; ``root`` is where /proc and /sys are looked for."""
    release = pairs(read_text(root / "etc/os-release"), "=")
    memory = pairs(read_text(root / "proc/meminfo"), ":").get("MemTotal", "").split()
    return System(
        board=read_text(root / "proc/device-tree/model"),
        cpu=_cpu(root),
        cores=os.cpu_count() or 1,
        memory_mb=int(memory[0]) // 1024 if memory else None,
        machine=platform.machine(),
        os=release.get("PRETTY_NAME", "").strip('"') or platform.platform(),
        kernel=platform.release(),
        python=platform.python_version(),
        governor=read_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        versions={name: version for name in PACKAGES if (version := _version(name))},
    )


def read_condition(root: Path = Path("/")) -> Condition:
    """Temperature, clock and throttling at this moment."""
    zones = (read_text(zone / "temp") for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")))
    degrees = [int(zone) / 1000 for zone in zones if zone and zone.lstrip("-").isdigit()]
    clock = read_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
    return Condition(
        temperature_c=max(degrees, default=None),
        clock_mhz=int(clock) / 1000 if clock and clock.isdigit() else None,
        throttled=throttle_words(command_output("vcgencmd", "get_throttled")),
    )


def throttle_words(answer: str | None) -> tuple[str, ...] | None:
    """``throttled=0x50005`` → its flags in words; None where the answer cannot be read."""
    bits = throttle_bits(answer)
    if bits is None:
        return None
    return tuple(words for bit, words in THROTTLE_BITS.items() if bits >> bit & 1)


def throttle_bits(answer: str | None) -> int | None:
    """``throttled=0x50005`` → the number; None where the answer cannot be read."""
    found = re.fullmatch(r"throttled=0x([0-9a-fA-F]{1,8})", (answer or "").strip())
    return int(found[1], 16) if found else None


def command_output(program: str, *arguments: str, timeout: float = 5) -> str | None:
    """What a system program prints; None where it is missing, fails, or needs over ``timeout`` seconds."""
    path = shutil.which(program)
    if path is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603  fixed arguments
            [path, *arguments], capture_output=True, text=True, timeout=timeout, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _cpu(root: Path) -> str:
    facts = pairs(read_text(root / "proc/cpuinfo"), ":")
    part = facts.get("CPU part", "")
    return facts.get("model name") or ARM_PARTS.get(part, part) or platform.processor() or platform.machine()


def pairs(text: str | None, separator: str) -> dict[str, str]:
    """``key<separator>value`` lines; the first of a key counts."""
    found: dict[str, str] = {}
    for line in (text or "").splitlines():
        key, _, value = line.partition(separator)
        found.setdefault(key.strip(), value.strip())
    return found


def read_text(path: Path) -> str | None:
    """A small text file without the zeros and newlines at its ends; None where there is nothing to read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ") or None
    except OSError:
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
