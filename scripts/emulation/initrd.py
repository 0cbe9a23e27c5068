"""A small initial ramdisk: busybox, the kernel modules that the virtual board needs, and a script."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Mapping, Sequence
from pathlib import Path

from emulation import debian

DIRECTORIES = ("bin", "proc", "sys", "dev", "root", "modules")


def load_order(modules: Path, wanted: Sequence[str]) -> list[str]:
    """Paths of ``wanted`` modules and what they need, in the order in which they can be loaded.

    modules: the folder with ``modules.dep``. Those built into the kernel are left out.
    """
    needs: dict[str, list[str]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {Path(path).name.split(".")[0].replace("-", "_"): path for path in needs}
    order: list[str] = []
    for name in wanted:
        found = by_name.get(name)
        for one in [*reversed(needs[found]), found] if found else []:
            if one not in order:
                order.append(one)
    return order


def build(kernel: Path, wanted: Mapping[str, str], programs: Mapping[str, Path], target: Path) -> None:
    """Write the ramdisk.

    kernel: a folder with ``lib/modules/VERSION``. wanted: module → its options. programs: further files, by
    their place in the ramdisk.
    """
    modules = next((kernel / "lib" / "modules").iterdir())
    if not (modules / "modules.dep").exists():
        debian.run("depmod", "-b", kernel, modules.name)
    files = {place: (0o755, path.read_bytes()) for place, path in programs.items()}
    lines = []
    for path in load_order(modules, list(wanted)):
        name = Path(path).name
        content = (modules / path).read_bytes()
        if name.endswith(".xz"):
            name, content = name.removesuffix(".xz"), lzma.decompress(content)
        files[f"modules/{name}"] = (0o644, content)
        lines.append(f"{name} {wanted.get(name.split('.')[0].replace('-', '_'), '')}".rstrip())
    files["modules/list"] = (0o644, "".join(f"{line}\n" for line in lines).encode())
    target.write_bytes(gzip.compress(_cpio(files), 1))


def _cpio(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """The archive format "newc" (Linux, Documentation/driver-api/early-userspace/buffer-format.rst)."""
    entries = [(name, 0o040755, b"") for name in DIRECTORIES]
    entries += [(name, 0o100000 | mode, content) for name, (mode, content) in files.items()]
    out = bytearray()
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        header = "070701" + "".join(f"{value:08X}" for value in fields)
        for part in (header.encode() + name.encode() + b"\0", content):
            out += part
            out += b"\0" * (-len(out) % 4)
    return bytes(out)
