"""The boards that are emulated, and the systems that run on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Board:
    """qemu's model of the processor and what /proc/cpuinfo says on the real thing.

    Without a model named, qemu emulates instructions that no Pi has (pointer authentication: Python runs at
    a seventh of its speed).
    """

    name: str
    cpu: str
    cpuinfo: Path


@dataclass(frozen=True, slots=True)
class Suite:
    """A Debian release, its Python, and the newest glibc 2.x that wheels may ask for."""

    name: str
    python: str
    glibc: int


BOARDS = {
    name: Board(name, cpu, ROOT / "tests" / "boards" / f"cpuinfo.{name}")
    for name, cpu in (
        ("zero2", "cortex-a53"),
        ("pi3", "cortex-a53"),
        ("pi4", "cortex-a72"),
        ("pi5", "cortex-a76"),
    )
}
SUITES = {"trixie": Suite("trixie", "3.13", 41), "bookworm": Suite("bookworm", "3.11", 36)}
