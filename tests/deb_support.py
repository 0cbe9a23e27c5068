"""Real Debian packages, and a place of their own for the real dpkg."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def need(*programs: str) -> None:
    """Skips where a program is missing, fails in CI."""
    missing = [name for name in programs if shutil.which(name, path=PATH) is None]
    if missing:
        if os.environ.get("CI"):
            pytest.fail(f"not installed: {missing}")
        pytest.skip(f"not installed: {missing}")


def build(folder: Path, name: str, *, version: str = "1.0", arch: str = "arm64", postinst: str = "",
          **fields: str) -> tuple[Path, dict[str, str]]:  # fmt: skip
    """A package in ``folder``, named as apt does; its fields. fields: Depends, Recommends and so on."""
    head = {
        "Package": name, "Version": version, "Architecture": arch, "Maintainer": "nobody <n@example.org>",
        "Installed-Size": "4", **fields, "Description": "for a test",
    }  # fmt: skip
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text("".join(f"{key}: {value}\n" for key, value in head.items()))
    if postinst:
        (tree / "DEBIAN" / "postinst").write_text(f"#!/bin/sh\n{postinst}\n")
        (tree / "DEBIAN" / "postinst").chmod(0o755)
    (tree / "usr" / "share" / name).mkdir(parents=True)
    (tree / "usr" / "share" / name / "version").write_text(version)
    file = folder / f"{name}_{version.replace(':', '%3a')}_{arch}.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, file], check=True, capture_output=True)
    shutil.rmtree(tree)
    return file, head


def own_arch() -> str:
    """This system's architecture, as Debian calls it."""
    done = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def private_dpkg(root: Path) -> dict[str, str]:
    """An empty system for dpkg below ``root``; the environment that makes dpkg use it, also without root."""
    need("dpkg", "dpkg-deb", "apt-get")
    admin = root / "var/lib/dpkg"
    for name in ("info", "updates", "triggers"):
        (admin / name).mkdir(parents=True)
    for name in ("status", "available"):
        (admin / name).touch()
    return {"DPKG_ROOT": str(root), "DPKG_ADMINDIR": str(admin), "DPKG_FORCE": "not-root"}


def states(environment: dict[str, str]) -> dict[str, str]:
    """Package → version and dpkg's status, in the system of ``private_dpkg``."""
    done = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Package} ${Version} ${db:Status-Status}\\n"],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return {row.split()[0]: row.partition(" ")[2] for row in done.stdout.splitlines()}
