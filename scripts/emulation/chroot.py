"""Commands as root in a card's system, under qemu-user: nothing boots, and the folder itself stays as it was.

``userland`` maps one user only; here all are mapped one to one, since setting a system up gives files to
others. The map is written from outside: ``unshare`` would call newuidmap for it, which is not on every PC.
Needs root.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from emulation.userland import BINFMT

USERS = 65536
WAIT = 'echo ready; read go; exec sh -c "$ENTER"'
ENTER = """
set -e
mount -t tmpfs tmpfs "$SCRATCH"
cd "$SCRATCH"
mkdir upper work root
mount -t overlay overlay -o "lowerdir=$BASE,upperdir=upper,workdir=work" root
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
printf '%s' "$BINFMT" > /proc/sys/fs/binfmt_misc/register
mount -t proc proc root/proc
mount --rbind /dev root/dev
mkdir -p root/boot/firmware
mount --bind "$BOOT" root/boot/firmware
exec chroot root /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 sh -c "$SCRIPT"
"""


def run(root: Path, boot: Path, script: str, scratch: Path) -> str:
    """What ``script`` prints, in the system ``root`` with ``boot`` as its /boot/firmware.

    scratch: an empty folder. Raises RuntimeError where the script fails.
    """
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "QEMU_CPU": "cortex-a53",
        "BINFMT": BINFMT,
        "BASE": str(root),
        "BOOT": str(boot),
        "SCRATCH": str(scratch),
        "SCRIPT": script,
        "ENTER": ENTER,
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
        raise RuntimeError(f"the script failed ({process.returncode}): {said[-1000:]}")
    return said
