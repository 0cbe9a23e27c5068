"""A whole arm64 Debian in a folder, its maintainer scripts run: a booting card needs that, ``userland`` not.

mmdebstrap runs in namespaces of its own, with a binfmt_misc of its own, as ``userland`` does; but with all
users mapped one to one, since packages give files to theirs. That needs root.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from emulation import debian
from emulation.userland import BINFMT

USERS = 65536
LEFT_OUT = ("doc", "man", "locale", "info", "lintian")
# The map is written from outside once the namespace is there: newuidmap, which unshare would call, is not on
# every machine. /sys cannot be mounted in here, and no package needs it.
WAIT = 'echo ready; read go; exec sh -c "$SCRIPT"'
INSTALL = """
set -e
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
printf '%s' "$BINFMT" > /proc/sys/fs/binfmt_misc/register
# Byte-compiling every package's Python takes longer than all the rest; a card does it when it first imports.
divert='chroot "$1" dpkg-divert --quiet --local --rename'
skip="$divert --add /usr/bin/py3compile"' && ln -s true "$1/usr/bin/py3compile"'
undo='rm "$1/usr/bin/py3compile" && '"$divert --remove /usr/bin/py3compile"
exec mmdebstrap --mode=root --skip=check/qemu --arch=arm64 --variant=minbase --quiet $OPTIONS \
  --essential-hook="$skip" --customize-hook="$undo" --include="$INCLUDE" "$SUITE" "$TARGET"
"""


def install(target: Path, suite: str, packages: Sequence[str]) -> None:
    """Install ``packages`` of a Debian release into the new folder ``target`` (about 5 minutes).

    Raises Unavailable without root or the tools.
    """
    debian.need(*debian.USERLAND)
    if os.geteuid() != 0:
        raise debian.Unavailable("a whole system for a card can only be installed as root")
    options = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEFT_OUT]
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "BINFMT": BINFMT,
        "QEMU_CPU": "cortex-a72",  # the default emulates what no Pi has, three times slower
        "SCRIPT": INSTALL,
        "OPTIONS": " ".join(options),
        "INCLUDE": ",".join(packages),
        "SUITE": suite,
        "TARGET": str(target),
    }
    command = ["unshare", "--user", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", WAIT]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    ) as process:  # fmt: skip
        answers, orders = process.stdout or sys.stdin, process.stdin or sys.stdout
        answers.readline()
        for kind in ("uid", "gid"):
            Path(f"/proc/{process.pid}/{kind}_map").write_text(f"0 0 {USERS}")
        orders.write("go\n")
        orders.close()
        said = answers.read()
    if process.returncode:
        raise RuntimeError(f"mmdebstrap failed ({process.returncode}): {said[-800:]}")
