"""Small images with the layout of the official ones, for tests: some files instead of a whole system."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from imago.deploy.bundling import BundleOptions, write_bundle
from imago.deploy.kit.build import Listener, describe_kit
from imago.deploy.kit.options import KitOptions
from imago.edge_runtime.bundle.settings import RunSettings

import onnx_models
from emulation import debian, sdimage

CMDLINE = (
    b"console=serial0,115200 console=tty1 root=PARTUUID=deadbeef-02 rootfstype=ext4 fsck.repair=yes rootwait "
    b"quiet init=/usr/lib/raspberrypi-sys-mods/firstboot\n"
)
BOOT_FILES = {
    "cmdline.txt": CMDLINE,
    "config.txt": b"arm_64bit=1\n",
    "issue.txt": b"Raspberry Pi reference 2025-10-01\nGenerated using pi-gen\n",
}
RELEASES = {
    "trixie": 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_CODENAME=trixie\nID=debian\n',
    "bookworm": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_CODENAME=bookworm\nID=debian\n',
    "bullseye": 'PRETTY_NAME="Debian GNU/Linux 11 (bullseye)"\nVERSION_CODENAME=bullseye\nID=debian\n',
}
ARM64, ARMHF, AMD64 = 183, 40, 62
BOOT_MB, ROOT_MB = 64, 16
MACHINE = "manylinux_2_27_aarch64.manylinux_2_28_aarch64"
WHEELS = (f"numpy-2.4.6-cp313-cp313-{MACHINE}.whl", f"onnxruntime-1.32.0-cp313-cp313-{MACHINE}.whl")


def elf(machine: int) -> bytes:
    """The first bytes of a program for this processor (ELF header: identification, type, machine)."""
    return b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, machine) + bytes(44)


def image(
    target: Path,
    *,
    release: str = "trixie",
    has: tuple[str, ...] = ("cloud-init",),
    machine: int = ARM64,
    boot: Mapping[str, bytes] = BOOT_FILES,
    boot_mb: int = BOOT_MB,
) -> Path:
    """An image whose root holds what tells a system apart, and nothing else."""
    tree = target.with_suffix(".tree")
    (tree / "usr" / "bin").mkdir(parents=True)
    (tree / "usr" / "lib").mkdir()
    (tree / "usr" / "lib" / "os-release").write_text(RELEASES[release])
    (tree / "usr" / "bin" / "dash").write_bytes(elf(machine))
    for name in has:
        (tree / "usr" / "bin" / name).write_text("#!/bin/sh\n")
    try:
        sdimage.build(target, boot, tree, boot_mb=boot_mb, root_mb=ROOT_MB)
    except debian.Unavailable as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    return target


def bundle(folder: Path, **run: Any) -> Path:
    """A small bundle. run: settings of ``imago run``."""
    onnx_models.lenet(folder / "m.onnx")
    options = BundleOptions(run=RunSettings(**run))
    write_bundle([folder / "m.onnx"], folder / "bundle.imago", options, version="0.1.0")
    return folder / "bundle.imago"


def kit(
    folder: Path,
    release: str = "trixie",
    arch: str = "arm64",
    size: int = 1000,
    wheels: tuple[str, ...] = WHEELS,
) -> Path:
    """A kit as ``imago kit`` describes it; only what is in its wheels is not worth installing."""
    (folder / "wheels").mkdir(parents=True)
    for name in wheels:
        (folder / "wheels" / name).write_bytes(os.urandom(size // len(wheels)))
    describe_kit(folder, KitOptions(os=release, arch=arch, camera="none"), "0.1.0", Listener())
    return folder


def mtype(path: Path, name: str) -> bytes:
    """A file of the boot partition, as mtools reads it."""
    place = f"{path}@@{sdimage.START_MB << 20}"
    return subprocess.run(["mtype", "-i", place, f"::/{name}"], capture_output=True, check=True).stdout


def listing(path: Path) -> set[str]:
    """All files of the boot partition."""
    place = f"{path}@@{sdimage.START_MB << 20}"
    done = subprocess.run(
        ["mdir", "-b", "-/", "-i", place, "::/"], capture_output=True, text=True, check=True
    )
    return {line.removeprefix("::/") for line in done.stdout.splitlines() if not line.endswith("/")}
