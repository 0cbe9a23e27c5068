"""Which system a kit is for: its Python, its processor, and what pip and apt call them."""

from __future__ import annotations

import platform
import sys
from dataclasses import asdict, dataclass
from typing import Any

from imago.edge_runtime.errors import InputError

OLDEST_GLIBC = 17  # manylinux2014
THIS = "this"
# Raspberry Pi OS and Debian release → Python, and the newest glibc 2.x that its wheels may ask for.
RELEASES = {"trixie": ("3.13", 41), "bookworm": ("3.11", 36)}
MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}
BITS_32 = ("armhf", "armv6l", "armv7l", "armel", "arm", "i386", "i686")


@dataclass(frozen=True, slots=True)
class Target:
    """A system. os: release, or ``this`` for the computer that the kit is made on; arch: Debian's name.

    python: "3.13"; glibc: the minor number of its C library, 0 where pip finds out for itself.
    """

    os: str
    arch: str
    machine: str
    python: str
    glibc: int

    def pip_flags(self) -> list[str]:
        """What makes pip choose wheels for this system; nothing where it is the one pip runs on."""
        if self.os == THIS:
            return ["--only-binary=:all:"]
        newest_first = range(self.glibc, OLDEST_GLIBC - 1, -1)
        platforms = [f"manylinux_2_{minor}_{self.machine}" for minor in newest_first]
        return [
            *(flag for name in platforms for flag in ("--platform", name)),
            *("--platform", f"manylinux2014_{self.machine}"),
            *("--python-version", self.python, "--implementation", "cp", "--only-binary=:all:"),
        ]

    def markers(self) -> dict[str, str]:
        """The environment that markers such as ``python_version < '3.12'`` are asked in (PEP 508).

        pip asks them of the Python that it runs on, whatever --platform says (pypa/pip#11664)."""
        if self.os == THIS:
            return {}
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain keys for the kit's manifest."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.os} {self.arch}, Python {self.python}"


def target(os: str, arch: str) -> Target:
    """The system called ``os`` on ``arch``. Raises InputError where no wheels exist for it."""
    if arch in BITS_32:
        raise InputError(
            "{arch} is a 32-bit system, and numpy, ONNX Runtime and LiteRT have no wheels for it: put the "
            "64-bit image on the card (Zero 2 W, 3, 4 and 5 all run it) and use --arch arm64",
            arch=arch,
        )
    if os == THIS:
        return here()
    if os not in RELEASES:
        raise InputError(
            "{os} is not a system that imago makes kits for; expected {known}",
            os=os,
            known=", ".join((*RELEASES, THIS)),
        )
    if arch not in MACHINES:
        raise InputError("{arch} is no architecture; expected arm64 or amd64", arch=arch)
    python, glibc = RELEASES[os]
    return Target(os, arch, MACHINES[arch], python, glibc)


def here() -> Target:
    """The computer that this runs on."""
    machine = platform.machine().lower()
    names = {machine_name: arch for arch, machine_name in MACHINES.items()}
    return Target(
        THIS, names.get(machine, machine), machine, f"{sys.version_info[0]}.{sys.version_info[1]}", 0
    )
