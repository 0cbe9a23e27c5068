"""What a measurement must say about the machine it was made on (Linux; elsewhere what Python knows)."""

from __future__ import annotations

import os
import platform
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
    release = _pairs(root / "etc/os-release", "=")
    memory = _pairs(root / "proc/meminfo", ":").get("MemTotal", "").split()
    return System(
        board=_text(root / "proc/device-tree/model"),
        cpu=_cpu(root),
        cores=os.cpu_count() or 1,
        memory_mb=int(memory[0]) // 1024 if memory else None,
        machine=platform.machine(),
        os=release.get("PRETTY_NAME", "").strip('"') or platform.platform(),
        kernel=platform.release(),
        python=platform.python_version(),
        governor=_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        versions={name: version for name in PACKAGES if (version := _version(name))},
    )


def read_condition(root: Path = Path("/")) -> Condition:
    """Temperature, clock and throttling at this moment."""
    zones = (_text(zone / "temp") for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")))
    degrees = [int(zone) / 1000 for zone in zones if zone and zone.lstrip("-").isdigit()]
    clock = _text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
    return Condition(
        temperature_c=max(degrees, default=None),
        clock_mhz=int(clock) / 1000 if clock and clock.isdigit() else None,
        throttled=throttle_words(_vcgencmd("get_throttled")),
    )


def throttle_words(answer: str | None) -> tuple[str, ...] | None:
    """``throttled=0x50005`` → its flags in words; None where the answer cannot be read."""
    if answer is None or not answer.startswith("throttled=0x"):
        return None
    try:
        bits = int(answer.removeprefix("throttled="), 16)
    except ValueError:
        return None
    return tuple(words for bit, words in THROTTLE_BITS.items() if bits >> bit & 1)


def _vcgencmd(question: str) -> str | None:
    program = shutil.which("vcgencmd")
    if program is None:
        return None
    try:
        done = subprocess.run([program, question], capture_output=True, text=True, timeout=2, check=False)  # noqa: S603  fixed arguments
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _cpu(root: Path) -> str:
    facts = _pairs(root / "proc/cpuinfo", ":")
    part = facts.get("CPU part", "")
    return facts.get("model name") or ARM_PARTS.get(part, part) or platform.processor() or platform.machine()


def _pairs(path: Path, separator: str) -> dict[str, str]:
    """``key<separator>value`` lines; the first of a key counts."""
    found: dict[str, str] = {}
    for line in (_text(path) or "").splitlines():
        key, _, value = line.partition(separator)
        found.setdefault(key.strip(), value.strip())
    return found


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ") or None
    except OSError:
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
