"""Debian's packages and PyPI's wheels for aarch64, put into a folder from x86 without running any of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from emulation.boards import Suite

PIP = (sys.executable, "-m", "pip")
OLDEST_GLIBC = 17  # manylinux2014
MERGED = "/usr/share/mmdebstrap/hooks/merged-usr"


# Where a program comes from; mkfs and depmod lie where only root's PATH leads.
PACKAGE_OF = {
    "depmod": "kmod",
    "gcc": "gcc libc6-dev",
    "mcopy": "mtools",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "mmdebstrap": "mmdebstrap",
    "qemu-aarch64": "qemu-user",
    "qemu-aarch64-static": "qemu-user-static",
    "qemu-arm-static": "qemu-user-static",
    "qemu-system-aarch64": "qemu-system-arm",
    "sfdisk": "fdisk",
    "ssh-keygen": "openssh-client",
    "systemctl": "systemd",
    "systemd-sysusers": "systemd",
    "unshare": "util-linux",
}
USERLAND = ("mmdebstrap", "qemu-aarch64-static", "unshare")
MACHINE = (*USERLAND, "qemu-system-aarch64", "mkfs.ext4", "depmod")
COUNTING = (*USERLAND, "qemu-aarch64", "gcc")
PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))


class Unavailable(RuntimeError):
    """The tools, or the right to use them, are missing; says which."""


def missing(*programs: str) -> list[str]:
    """Debian's packages for those of ``programs`` that are not here."""
    return [PACKAGE_OF[program] for program in programs if shutil.which(program, path=PATH) is None]


def need(*programs: str) -> None:
    """Raise Unavailable with one line to type where a program is missing."""
    packages = missing(*programs)
    if packages:
        raise Unavailable(f"the emulated board needs: sudo apt install {' '.join(packages)}")


def run(*command: str | Path, timeout: float = 900, stdin: str = "") -> str:
    """Run a tool, with ``stdin`` as its input; its output, or RuntimeError with the end of what it said."""
    done = subprocess.run(
        [str(c) for c in command],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        input=stdin,
        env={**os.environ, "PATH": PATH},
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed ({done.returncode}): {(done.stderr or done.stdout)[-800:]}")
    return done.stdout


def extract(
    target: Path,
    suite: Suite,
    packages: Sequence[str],
    *,
    arch: str = "arm64",
    backported: str = "",
    merged: bool = False,
) -> None:
    """Unpack ``packages`` and all that they need into ``target``; no maintainer script is run.

    arch: as Debian calls it. merged: /bin and /lib are links into /usr, as on an installed system.
    backported: a pattern of packages to take from the suite's backports. Packages come from mmdebstrap's
    mirror, or with backports or for another arch from the one that apt is configured with, without updates.
    """
    need("mmdebstrap")
    more: list[str] = []
    sources: list[str] = []
    if backported:
        pin = f"Package: {backported}\\nPin: release n={suite.name}-backports\\nPin-Priority: 900\\n"
        place = '"$1/etc/apt/preferences.d'
        more = [f"--setup-hook=mkdir -p {place}\"; printf '{pin}' > {place}/backports\""]
        mirror = _mirror()
        sources = [f"deb {mirror} {suite.name} main", f"deb {mirror} {suite.name}-backports main"]
    elif arch != "arm64":
        sources = [f"deb {_mirror()} {suite.name} main"]
    if merged:
        more.append(f"--hook-dir={MERGED}")
    include = f"--include={','.join(packages)}"
    run(
        "mmdebstrap",
        f"--arch={arch}",
        "--variant=extract",
        "--quiet",
        *more,
        include,
        suite.name,
        target,
        *sources,
    )
    for name in ("usr/share/doc", "usr/share/man", "usr/share/locale"):
        shutil.rmtree(target / name, ignore_errors=True)


def wheels(target: Path, suite: Suite, packages: Sequence[str], *, machine: str = "aarch64") -> None:
    """Install wheels for the suite's Python on ``machine`` into ``target``."""
    run(*PIP, "install", "--quiet", "--no-compile", "--target", target, *_for(suite, machine), *packages)


def download(target: Path, suite: Suite, packages: Sequence[str], *, machine: str = "aarch64") -> None:
    """Put the wheels of ``packages`` and of all that they need into ``target``, as files."""
    run(*PIP, "download", "--quiet", "--dest", target, *_for(suite, machine), *packages)


def _for(suite: Suite, machine: str) -> list[str]:
    """What makes pip choose wheels for the suite's Python on ``machine``."""
    platforms = [
        f"manylinux2014_{machine}",
        *(f"manylinux_2_{v}_{machine}" for v in range(OLDEST_GLIBC, suite.glibc + 1)),
    ]
    flags = [flag for name in platforms for flag in ("--platform", name)]
    return [*flags, "--python-version", suite.python, "--implementation", "cp", "--only-binary=:all:"]


def _mirror() -> str:
    """The mirror of the first Debian archive in apt's configuration."""
    text = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN)")
    for line in text.splitlines():
        uri, _, origin = line.partition(" ")
        if origin == "Debian" and "security" not in uri:
            return uri
    raise Unavailable("apt knows no Debian mirror; the virtual machine needs one for backports")
