"""The cheapest board: an aarch64 userland in a folder, its programs run by qemu-user on the host's kernel.

Everything happens in namespaces of its own (user, mount, process): no mount and no binfmt entry is left on
the host, root is not needed (Linux 6.7 or newer), and the cached folder itself is never written to.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emulation import debian
from emulation.boards import BOARDS, SUITES, Board, Suite
from emulation.cache import cache_folder, cached

PACKAGES = (
    "base-files",
    "bash",
    "ca-certificates",
    "coreutils",
    "dash",
    "libc-bin",
    "libstdc++6",
    "python3",
    "zlib1g",
)
# One version each, so that instruction counts can be held against an expectation; new ones are taken by hand.
WHEELS = ("numpy==2.4.6", "onnxruntime==1.32.0", "ai-edge-litert==2.3.0", "pillow")
WARM_UP = "import numpy, json, subprocess, PIL.Image, onnxruntime"
PYCACHE = "/opt/pycache"
QEMU = "/usr/bin/qemu-aarch64-static"
# ELF, 64 bit, little-endian, executable or library, AArch64; flags: P keeps argv[0], F opens qemu right away,
# which makes it usable in a root that does not contain it.
BINFMT = (
    r":imago-aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    r":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:" + QEMU + ":PF"
)
# The real /sys tells the host's secrets (with it onnxruntime dies under qemu); these are what its CPU
# detection asks for.
SYS = {"possible": "0-3\n", "present": "0-3\n", "online": "0-3\n"}
ENTER = """
set -e
mount -t tmpfs tmpfs "$SCRATCH"
mkdir "$SCRATCH/upper" "$SCRATCH/work" "$SCRATCH/root"
mount -t overlay overlay -o "lowerdir=$BASE,upperdir=$SCRATCH/upper,workdir=$SCRATCH/work" "$SCRATCH/root"
root="$SCRATCH/root"
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
printf '%s' "$BINFMT" > /proc/sys/fs/binfmt_misc/register
mount -t proc proc "$root/proc"
mount --bind "$CPUINFO" "$root/proc/cpuinfo"
mount --rbind /dev "$root/dev"
mount --bind "$SHARE" "$root/share"
if [ -n "$COUNTER" ]; then  # qemu itself, counting: an x86 program, with its libraries
  mkdir -p "$root/opt/count" "$root/lib64" "$root/usr/lib/x86_64-linux-gnu"
  cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
  mount --bind /usr/lib/x86_64-linux-gnu "$root/usr/lib/x86_64-linux-gnu"
  mount --bind "$COUNTER" "$root/opt/count"
fi
cd "$root"
exec chroot "$root" /usr/bin/env -i -C /share "$@"
"""


@dataclass(frozen=True, slots=True)
class Userland:
    """An aarch64 root folder with the wheels in /opt/site. product: imago's wheel, unpacked."""

    root: Path
    suite: Suite

    def run(
        self,
        command: Sequence[str],
        *,
        share: Path,
        board: str | Board = "pi4",
        env: Mapping[str, str] | None = None,
        counter: Path | None = None,
        network: bool = True,
        timeout: float = 600,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``command`` on ``board``, in the folder ``share``, which it sees as /share (its only place to
        leave something). /share/site, where there is one, is on Python's path. counter: a folder that it sees
        as /opt/count, together with x86 libraries (see ``instructions``).
        network: False: not even localhost."""
        board = BOARDS[board] if isinstance(board, str) else board
        inside = {
            "PATH": "/usr/bin:/bin",
            "HOME": "/tmp",  # noqa: S108  of the emulated system
            "LANG": "C.UTF-8",
            "PYTHONPATH": "/share/site:/opt/site",
            "PYTHONPYCACHEPREFIX": PYCACHE,
            "QEMU_CPU": board.cpu,
            "OPENBLAS_NUM_THREADS": "1",
            "IMAGO_LANG": "en",
            **(env or {}),
        }
        outside = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "BASE": str(self.root),
            "SCRATCH": str(cache_folder() / "scratch"),  # each run mounts a tmpfs of its own over it
            "BINFMT": BINFMT,
            "CPUINFO": str(board.cpuinfo),
            "SHARE": str(share),
            "COUNTER": str(counter or ""),
        }
        Path(outside["SCRATCH"]).mkdir(exist_ok=True)
        words = [f"{key}={value}" for key, value in inside.items()]
        return subprocess.run(
            [
                *(FIXED if counter else ()),
                *NAMESPACES,
                *(() if network else ("--net",)),
                "sh",
                "-c",
                ENTER,
                "sh",
                *words,
                *command,
            ],
            env=outside,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )


FIXED = ("setarch", "-R")  # no random addresses: where memory lies decides which copy loops run
NAMESPACES = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child")


def userland(suite: str = "trixie") -> Userland:
    """The cached userland of ``suite``; built at the first call (20 seconds). Raises Unavailable."""
    debian.need(*debian.USERLAND)
    chosen = SUITES[suite]
    inputs = [1, suite, PACKAGES, WHEELS, SYS, WARM_UP]
    return Userland(cached(f"userland-{suite}", inputs, lambda work: _build(work, chosen)), chosen)


def unpack_product(wheel: Path, share: Path) -> None:
    """Put imago's wheel where ``Userland.run`` finds it."""
    shutil.rmtree(share / "site", ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(share / "site")


def build_wheel(out: Path) -> Path:
    """imago's wheel from this checkout, in ``out``."""
    from emulation.boards import ROOT

    debian.run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT)
    return next(out.glob("*.whl"))


def _build(work: Path, suite: Suite) -> None:
    debian.extract(work, suite, PACKAGES)
    debian.wheels(work / "opt" / "site", suite, WHEELS)
    cpu = work / "sys" / "devices" / "system" / "cpu"
    cpu.mkdir(parents=True)
    for name, text in SYS.items():
        (cpu / name).write_text(text)
    (work / "share").mkdir()
    (work / "dev").mkdir(exist_ok=True)
    warm_up(Userland(work, suite), WARM_UP)


def warm_up(system: Userland, code: str) -> None:
    """Keep the byte code of what ``code`` imports: emulated, compiling it takes longer than running it."""
    share = system.root / PYCACHE.lstrip("/")
    share.mkdir(parents=True)
    done = system.run(["python3", "-c", code], share=share, env={"PYTHONPYCACHEPREFIX": "/share"})
    if done.returncode:
        raise debian.Unavailable(f"the emulated system does not run: {done.stderr[-500:]}")
