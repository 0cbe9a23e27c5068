"""A bootable arm64 Debian in a folder, in a minute: unpacked, then configured from outside.

Maintainer scripts do not run: emulated, those of 200 packages take most of an hour on a busy PC. What they
would have done, and a boot needs, is done here with the PC's own tools: users, PAM, links, services. All
programs are the real ones.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from emulation import debian
from emulation.boards import Suite

BASE = (
    "base-files", "base-passwd", "bash", "coreutils", "dash", "e2fsprogs", "findutils", "gawk", "grep",
    "gzip", "hostname", "init-system-helpers", "libc-bin", "libpam-modules", "libpam-runtime",
    "libpam-systemd", "login", "mount", "passwd", "sed", "tar", "util-linux",
)  # fmt: skip
# What packages' scripts make with adduser; the rest is in their own sysusers.d.
USERS = """u messagebus - "System Message Bus" /nonexistent
u sshd - "sshd user" /run/sshd
g netdev - -
g gpio - -
"""
PAM = {
    "common-auth": "auth required pam_unix.so nullok\n",
    "common-account": "account required pam_unix.so\n",
    "common-password": "password required pam_unix.so yescrypt\n",
    "common-session": "session required pam_unix.so\nsession optional pam_systemd.so\n",
    "common-session-noninteractive": "session required pam_unix.so\n",
}
LINKS = {
    "usr/bin/awk": "gawk",
    "usr/bin/nc": "nc.openbsd",  # cloud-init's stages call each other through it
    "var/run": "/run",
    "var/lock": "/run/lock",
    "etc/localtime": "/usr/share/zoneinfo/Etc/UTC",
}
COPIES = {
    "usr/share/base-passwd/passwd.master": "etc/passwd",
    "usr/share/base-passwd/group.master": "etc/group",
    "usr/share/libc-bin/nsswitch.conf": "etc/nsswitch.conf",
    "usr/share/base-files/nsswitch.conf": "etc/nsswitch.conf",  # bookworm
    "usr/share/base-files/profile": "etc/profile",
    "usr/share/openssh/sshd_config": "etc/ssh/sshd_config",
}
TOOLS = ("systemctl", "systemd-sysusers", "ssh-keygen")
# They ask or wait for what a card without a screen and a network does not have.
UNWANTED = (
    "ssh.socket", "systemd-firstboot.service", "systemd-networkd-wait-online.service",
    "systemd-networkd.service",
)  # fmt: skip


def install(target: Path, suite: Suite, packages: Sequence[str]) -> None:
    """Put a system with ``packages`` into ``target``. Raises Unavailable without root or tools."""
    debian.need(*TOOLS)
    if os.geteuid() != 0:
        raise debian.Unavailable("a whole system for a card can only be made as root: files have owners")
    debian.extract(target, suite, (*BASE, *packages), merged=True)
    for source, place in COPIES.items():
        if (target / source).is_file():
            shutil.copy(target / source, target / place)
    _users(target)
    for name, text in PAM.items():
        (target / "etc" / "pam.d" / name).write_text(text)
    for place, link in LINKS.items():
        _link(target / place, link)
    _certificates(target)
    _bytecode(target, suite)
    (target / "etc" / "sudoers").chmod(0o440)
    (target / "etc" / "machine-id").write_text("")  # made at the first boot, as on the official images
    debian.run("systemctl", f"--root={target}", "preset-all")
    debian.run("systemctl", f"--root={target}", "mask", *UNWANTED)
    debian.run("ssh-keygen", "-A", "-f", target)


def _users(target: Path) -> None:
    (target / "usr" / "lib" / "sysusers.d" / "stand-in.conf").write_text(USERS)
    etc = target / "etc"
    for name, of in (("shadow", "passwd"), ("gshadow", "group")):
        text = (etc / of).read_text().replace(":*:", ":x:")
        (etc / of).write_text(text)
        names = [line.partition(":")[0] for line in text.splitlines()]
        rest = "*:20000:0:99999:7:::" if name == "shadow" else "*::"
        (etc / name).write_text("".join(f"{one}:{rest}\n" for one in names))
        (etc / name).chmod(0o640)
        os.chown(etc / name, 0, 42)  # group shadow
    debian.run("systemd-sysusers", f"--root={target}")


def _certificates(target: Path) -> None:
    """What ca-certificates' script makes; Python's requests, and so cloud-init, do not start without it."""
    found = sorted((target / "usr" / "share" / "ca-certificates").rglob("*.crt"))
    place = target / "etc" / "ssl" / "certs" / "ca-certificates.crt"
    if found:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"".join(path.read_bytes() for path in found))


def _bytecode(target: Path, suite: Suite) -> None:
    """Compiled modules, as on an installed system, where this computer has the release's Python.

    Without them every first import is some times slower, which changes nothing else.
    """
    python, library = f"python{suite.python}", target / "usr" / "lib"
    words = ("-I", "-m", "compileall", "-q", "-s", target, "-p", "/", library / python, library / "python3")
    with contextlib.suppress(OSError, RuntimeError):  # some packages carry files for other Pythons
        debian.run(python, *words)


def _link(place: Path, link: str) -> None:
    if place.is_dir() and not place.is_symlink():
        place.rmdir()
    place.unlink(missing_ok=True)
    place.symlink_to(link)
