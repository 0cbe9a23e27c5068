"""Which computer a class-room kit is for: pip's tags for it, and the answers to requirement markers there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from imago.edge_runtime.errors import InputError

System = Literal["windows", "linux"]
SYSTEMS: tuple[System, ...] = ("windows", "linux")
PYTHONS = ("3.11", "3.12", "3.13")
OLDEST_GLIBC, NEWEST_GLIBC = 5, 31  # 2.31: Ubuntu 20.04, Debian 11; wheels for newer ones are not taken
OLD_NAMES = ("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64")


@dataclass(frozen=True, slots=True)
class Target:
    """system: windows (64-bit x86) or linux (64-bit x86, glibc 2.31 or newer). python: such as 3.12."""

    system: System = "windows"
    python: str = "3.12"

    def __post_init__(self) -> None:
        if self.system not in SYSTEMS:
            raise InputError(
                "--{name} is {value}; expected one of: {choices}",
                name="for",
                value=self.system,
                choices=", ".join(SYSTEMS),
            )
        if self.python not in PYTHONS:
            raise InputError(
                "--{name} is {value}; expected one of: {choices}",
                name="python",
                value=self.python,
                choices=", ".join(PYTHONS),
            )

    @property
    def platforms(self) -> tuple[str, ...]:
        """Platform tags, the most wanted first."""
        if self.system == "windows":
            return ("win_amd64",)
        newer = (f"manylinux_2_{k}_x86_64" for k in range(NEWEST_GLIBC, OLDEST_GLIBC - 1, -1))
        return (*newer, *OLD_NAMES)

    def pip_flags(self) -> list[str]:
        """What makes pip choose for that computer instead of for this one."""
        flags = ["--only-binary=:all:", "--implementation", "cp", "--python-version", self.python]
        for tag in self.platforms:
            flags += ["--platform", tag]
        for abi in (f"cp{self.python.replace('.', '')}", "abi3", "none"):
            flags += ["--abi", abi]
        return flags

    def markers(self, extra: str = "") -> dict[str, str]:
        """Values of PEP 508's variables there."""
        windows = self.system == "windows"
        return {
            "os_name": "nt" if windows else "posix",
            "sys_platform": "win32" if windows else "linux",
            "platform_system": "Windows" if windows else "Linux",
            "platform_machine": "AMD64" if windows else "x86_64",
            "platform_release": "",
            "platform_version": "",
            "platform_python_implementation": "CPython",
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "extra": extra,
        }
