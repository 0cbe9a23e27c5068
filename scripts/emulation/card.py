"""An SD card on a virtual machine: a stand-in for the official image, and the machine that it boots on.

The stand-in has the official layout, a real Debian (systemd, cloud-init or not, NetworkManager) and the
files by which Raspberry Pi OS is told apart. It has no kernel of its own: Raspberry Pi OS's does not start on
qemu's ``virt``, so that the machine brings Debian's, with ``vivid`` as camera. The machine does what the
firmware does: it reads the card's ``cmdline.txt``, anew at every start.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from emulation import debian, initrd, sdimage, system, vm
from emulation.boards import BOARDS, SUITES
from emulation.cache import cached

GUEST = Path(__file__).with_name("guest") / "card"  # apart: vm.py takes every file beside its own
PACKAGES = (
    "systemd", "systemd-sysv", "udev", "dbus", "network-manager", "openssh-server", "sudo", "python3",
    "python3-venv", "iproute2", "tzdata", "kmod", "procps",
    "libstdc++6",  # apt's need, so that every Raspberry Pi OS has it; numpy's, too
)  # fmt: skip
MORE = {"trixie": ("cloud-init", "netplan.io"), "bookworm": ()}
BOOT_MB, ROOM_MB = 512, 1200  # the official boot partition; what is free on a card that was grown
FIRST_BOOT = "/usr/lib/raspberrypi-sys-mods/firstboot"
CMDLINE = (
    f"console=serial0,115200 console=tty1 root=PARTUUID={sdimage.DISK_ID}-02 rootfstype=ext4 fsck.repair=yes "
    "rootwait quiet"
)
ISSUE = (
    "Raspberry Pi reference 2025-10-01\nGenerated using pi-gen (a stand-in by imago's scripts/emulation)\n"
)
FSTAB = """proc /proc proc defaults 0 0
PARTUUID={disk}-01 /boot/firmware vfat defaults,x-systemd.device-timeout=1h 0 2
PARTUUID={disk}-02 / ext4 defaults,noatime,x-systemd.device-timeout=1h 0 1
"""
# As Raspberry Pi's image builder sets cloud-init up (pi-gen, stage2/04-cloud-init).
CLOUD = "datasource_list: [NoCloud, None]\ndatasource:\n  NoCloud:\n    seedfrom: file:///boot/firmware\n"
NETPLAN = "network:\n  version: 2\n  renderer: NetworkManager\n"
MODULES = {
    **vm.MODULES,
    "virtio_net": "", "vfat": "", "nls_cp437": "", "nls_ascii": "", "nls_iso8859_1": "", "nls_utf8": "",
    "af_packet": "", "autofs4": "",
}  # fmt: skip
MODULES.pop("9p")
MODULES.pop("9pnet_virtio")
# A machine that others starve of processor time is slow, not broken: what systemd gives 90 s gets an hour,
# here and in the table of file systems.
KERNEL = (
    "console=ttyAMA0 panic=-1 mitigations=off transparent_hugepage=never net.ifnames=0 audit=0 "
    "systemd.default_timeout_start_sec=1h"
)
MEMORY_MB = 1024
PAGE, SSH = 8080, 22


def root(suite: str) -> Path:
    """The cached system of a stand-in, as a folder (a minute at the first call). Raises Unavailable."""
    debian.need(*debian.USERLAND)
    packages = (*PACKAGES, *MORE[suite])
    folder = cached(
        f"cardroot-{suite}",
        [4, suite, packages, system.USERS, system.PAM, system.LINKS],
        lambda work: _install(work, suite, packages),
    )
    return folder / "root"


def standin(suite: str) -> Path:
    """The cached stand-in image of a release (a minute at the first call). Raises Unavailable."""
    debian.need(*debian.MACHINE, *sdimage.TOOLS)
    tree = root(suite)
    inputs = [1, tree.parent.name, CMDLINE, ISSUE, FSTAB, CLOUD, NETPLAN, (GUEST / "firstboot").read_text()]
    return cached(f"card-{suite}", inputs, lambda work: _image(work, suite, tree)) / "card.img"


@dataclass
class Machine:
    """A board with a card in it. log: what the console said, over all starts."""

    card: Path
    board: str = "pi4"
    page: int = 0
    ssh: int = 0
    log: list[str] = field(default_factory=list)
    starts: int = 0

    def run(self, until: Callable[[Machine], bool], *, timeout: float) -> bool:
        """Start, and start again whenever it reboots, until ``until`` holds; whether it came to that.

        The network ends at the machine: its page and its ssh can be reached from here; it reaches nothing.
        """
        self.page, self.ssh = _free_port(), _free_port()
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            with _Start(self) as process:
                while process.poll() is None and time.monotonic() < end:
                    if until(self):
                        return True
                    time.sleep(1)
                if process.poll() is None:
                    return False
            if process.returncode:
                raise RuntimeError(f"qemu failed ({process.returncode}): {self.log[-1][-500:]}")
        return False

    def command(self) -> list[str]:
        """qemu, with the card's own command line."""
        system_of = vm.system_folder()
        place = f"{self.card}@@{sdimage.START_MB << 20}"
        own = debian.run("mtype", "-i", place, "::/cmdline.txt").split()
        words = [word for word in own if not word.startswith("console=")]
        forward = ",".join(
            f"hostfwd=tcp:127.0.0.1:{here}-:{there}" for here, there in ((self.page, PAGE), (self.ssh, SSH))
        )
        return [
            "qemu-system-aarch64", "-M", "virt", "-cpu", BOARDS[self.board].cpu, "-smp", "2",
            "-m", str(MEMORY_MB), "-accel", "tcg,thread=multi,tb-size=512", "-nographic", "-no-reboot",
            "-kernel", str(system_of / "vmlinuz"), "-initrd", str(_ramdisk(system_of)),
            "-append", " ".join([*words, KERNEL]),
            "-drive", f"if=none,id=card,file={self.card},format=raw,cache=unsafe",
            "-device", "virtio-blk-pci,drive=card",
            "-netdev", f"user,id=net,restrict=on,{forward}", "-device", "virtio-net-pci,netdev=net,romfile=",
        ]  # fmt: skip


class _Start:
    """One start of a machine: a process, ended hard where it is still there (as a power cut would)."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def __enter__(self) -> subprocess.Popen[str]:
        self._machine.starts += 1
        self._console = self._machine.card.with_suffix(f".console{self._machine.starts}")
        self._file = self._console.open("w")
        self._process = subprocess.Popen(
            self._machine.command(), stdin=subprocess.DEVNULL, stdout=self._file, stderr=self._file, text=True
        )
        return self._process

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        self._file.close()
        self._machine.log.append(self._console.read_text(errors="replace"))


def _ramdisk(kernel_of: Path) -> Path:
    files = {"bin/busybox": kernel_of / "kernel" / "busybox", "init": GUEST / "init"}
    inputs = [1, kernel_of.name, MODULES, files["init"].read_text()]
    folder = cached(
        "cardboot", inputs, lambda work: initrd.build(kernel_of / "kernel", MODULES, files, work / "initrd")
    )
    return folder / "initrd"


def _install(work: Path, suite: str, packages: tuple[str, ...]) -> None:
    system.install(work / "root", SUITES[suite], packages)


def _image(work: Path, suite: str, tree: Path) -> None:
    """The tree itself stays as it was: what Raspberry Pi OS has besides is put into the file system."""
    megabytes = int(debian.run("du", "-sm", tree).split()[0])
    own = work / "own"
    added = _additions(own, suite)
    boot = {"cmdline.txt": _cmdline(suite), "config.txt": "arm_64bit=1\n", "issue.txt": ISSUE}
    if suite == "trixie":
        boot |= {
            "user-data": "#cloud-config\n",
            "meta-data": "instance_id: rpios-image\n",
        }
    files = {name: text.encode() for name, text in boot.items()}
    image = work / "card.img"
    sdimage.build(image, files, tree, boot_mb=BOOT_MB, root_mb=megabytes + ROOM_MB)
    place = f"{image}?offset={(sdimage.START_MB + BOOT_MB) << 20}"
    debian.run("debugfs", "-w", "-f", "-", place, stdin="\n".join(added) + "\n")


def _additions(own: Path, suite: str) -> list[str]:
    """debugfs requests: files that differ from Debian's, owned by root."""
    texts = {
        "/etc/fstab": FSTAB.format(disk=sdimage.DISK_ID),
        "/etc/hostname": "raspberrypi\n",
        "/etc/hosts": "127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n",
        "/etc/rpi-issue": ISSUE,
    }
    if suite == "trixie":
        texts |= {
            "/etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg": CLOUD,
            "/usr/lib/netplan/00-network-manager-all.yaml": NETPLAN,
        }
    else:
        texts[FIRST_BOOT] = (GUEST / "firstboot").read_text()
    own.mkdir()
    requests = ["mkdir /boot/firmware", "mkdir /usr/lib/raspberrypi-sys-mods", "mkdir /usr/lib/netplan"]
    for number, (path, text) in enumerate(texts.items()):
        file = own / str(number)
        file.write_text(text)
        requests += [f"rm {path}", f"write {file} {path}"]
    return [*requests, f"sif {FIRST_BOOT} mode 0100755"]


def _cmdline(suite: str) -> str:
    return f"{CMDLINE} init={FIRST_BOOT}\n" if suite == "bookworm" else f"{CMDLINE}\n"


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
