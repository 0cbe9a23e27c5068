"""A whole board: a virtual aarch64 machine with Debian's kernel, a V4L2 camera and a libcamera camera.

/dev/video0 is the kernel's ``vivid`` (a test picture, 30 frames a second); libcamera's virtual pipeline is
read by the real picamera2. Nothing is written to the image; what a job leaves in /share is on the host.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emulation import debian, initrd, userland
from emulation.boards import BOARDS, SUITES
from emulation.cache import cached
from emulation.userland import PYCACHE, Userland, warm_up

GUEST = Path(__file__).with_name("guest")
SUITE = SUITES["trixie"]
# libcamera 0.4 of trixie hangs in the virtual pipeline; backports has 0.7.
BACKPORTED = "*libcamera*"
PACKAGES = (
    "base-files", "bash", "busybox-static", "ca-certificates", "coreutils", "dash", "libc-bin",
    "libcamera-ipa", "libstdc++6", "linux-image-arm64", "mount", "python3",
    "python3-libcamera", "python3-prctl", "zlib1g",
)  # fmt: skip
WHEELS = (
    *userland.WHEELS, "opencv-python-headless",
    "piexif", "simplejpeg", "videodev2", "av", "libarchive-c", "tqdm", "jsonschema",
)  # fmt: skip
PICAMERA2 = "picamera2==0.3.38"
PIDNG = "pidng==4.0.9"  # a source package: its Python files are enough
# What tests import; picamera2 itself looks for cameras when it is imported.
WARM_UP = (
    "import numpy, json, subprocess, PIL.Image, onnxruntime, cv2, simplejpeg, piexif, av, jsonschema, "
    "videodev2; "
    "import compileall; [compileall.compile_dir(f'/opt/site/{d}', quiet=2) for d in ('picamera2', 'pidng')]"
)
MODULES = {
    "virtio_pci": "",
    "virtio_blk": "",
    "crc32c_generic": "",  # ext4 asks for it by another name
    "ext4": "",
    "9pnet_virtio": "",
    "9p": "",
    "udmabuf": "",
    "vivid": "n_devs=1 node_types=0x1",
}
MEMORY_MB = 1024
# As Raspberry Pi OS's kernel, which has no transparent huge pages (raspberrypi/linux#4687, #7076); Debian's
# gives a process up to 2 MB for the first byte of a large area.
KERNEL = "console=ttyAMA0 quiet loglevel=3 panic=-1 mitigations=off transparent_hugepage=never"


@dataclass(frozen=True, slots=True)
class Machine:
    """A built machine. system: folder with kernel and root image; boot: with the initrd."""

    system: Path
    boot: Path

    def run(
        self,
        command: Sequence[str],
        *,
        share: Path,
        board: str = "pi4",
        env: Mapping[str, str] | None = None,
        memory_mb: int = MEMORY_MB,
        timeout: float = 580,
    ) -> subprocess.CompletedProcess[str]:
        """Boot, run ``command`` in /share, power off (15 to 40 s on an idle PC, and the command)."""
        inside = {
            "HOME": "/tmp",  # noqa: S108  of the emulated system
            "LANG": "C.UTF-8",
            "PYTHONPATH": "/share/site:/opt/site",
            "PYTHONPYCACHEPREFIX": PYCACHE,
            "IMAGO_LANG": "en",
            "LIBCAMERA_LOG_LEVELS": "*:ERROR",
            **(env or {}),
        }
        lines = [f"export {key}={shlex.quote(value)}" for key, value in inside.items()]
        (share / ".job").write_text("\n".join([*lines, f"exec {shlex.join(command)}", ""]))
        console = self._boot(share, board, memory_mb, timeout)
        if not (share / ".status").exists():
            return subprocess.CompletedProcess(
                command, 125, "", f"the machine did not finish:\n{console[-3000:]}"
            )
        out, err = ((share / name).read_text(errors="replace") for name in (".stdout", ".stderr"))
        return subprocess.CompletedProcess(command, int((share / ".status").read_text()), out, err)

    def _boot(self, share: Path, board: str, memory_mb: int, timeout: float) -> str:
        """What the console says until the machine is off."""
        for name in (".status", ".stdout", ".stderr"):
            (share / name).unlink(missing_ok=True)
        command = [
            "qemu-system-aarch64", "-M", "virt", "-cpu", BOARDS[board].cpu, "-smp", "2", "-m", str(memory_mb),
            "-accel", "tcg,thread=multi,tb-size=512", "-nographic", "-no-reboot", "-net", "none",
            "-kernel", str(self.system / "vmlinuz"), "-initrd", str(self.boot / "initrd"),
            "-append", KERNEL,
            "-drive", f"if=none,id=root,file={self.system / 'root.ext4'},format=raw,snapshot=on",
            "-device", "virtio-blk-pci,drive=root",
            "-virtfs", f"local,path={share},mount_tag=share,security_model=none",
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=timeout, check=False,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            said = error.stdout or b""
            return (said.decode(errors="replace") if isinstance(said, bytes) else said) + "\n(too slow)"
        return done.stdout + done.stderr


def system_folder() -> Path:
    """The cached kernel, its modules, and the root image. Raises Unavailable."""
    debian.need(*debian.MACHINE)
    return cached("system", [2, PACKAGES, WHEELS, PICAMERA2, PIDNG, WARM_UP], _build)


def machine() -> Machine:
    """The cached machine; built at the first call (a minute or two). Raises Unavailable."""
    system = system_folder()
    scripts = {path.name: path.read_text() for path in GUEST.iterdir() if path.is_file()}
    boot = cached("boot", [system.name, MODULES, scripts], lambda work: _build_boot(work, system))
    return Machine(system, boot)


def _build(work: Path) -> None:
    """Root image and kernel; modules and busybox are kept beside them for the initrd."""
    root, kernel = work / "root", work / "kernel"
    debian.extract(root, SUITE, PACKAGES, backported=BACKPORTED)
    shutil.copy(next((root / "boot").glob("vmlinuz-*")), work / "vmlinuz")
    shutil.rmtree(root / "boot")
    (kernel / "usr" / "lib").mkdir(parents=True)
    (kernel / "lib").symlink_to("usr/lib")
    (root / "usr" / "lib" / "modules").rename(kernel / "usr" / "lib" / "modules")
    shutil.copy(root / "usr" / "bin" / "busybox", kernel)
    site = root / "opt" / "site"
    debian.wheels(site, SUITE, WHEELS)
    _picamera2(site)
    for place in ("share", "dev", "proc"):
        (root / place).mkdir(exist_ok=True)
    warm_up(Userland(root, SUITE), WARM_UP)
    (root / "usr" / "share" / "libcamera" / "pipeline" / "virtual").mkdir(parents=True, exist_ok=True)
    megabytes = int(debian.run("du", "-sm", root).split()[0])
    image = work / "root.ext4"
    debian.run(
        "mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-d", root, image, f"{int(megabytes * 1.25) + 64}M"
    )
    shutil.rmtree(root)


def _build_boot(work: Path, system: Path) -> None:
    """The initrd: it brings the scripts along, so that changing one does not rebuild the image."""
    files = {
        "bin/busybox": system / "kernel" / "busybox",
        "init": GUEST / "initrd-init",
        "job": GUEST / "init",
        "virtual.yaml": GUEST / "virtual.yaml",
        "picamera2.append": GUEST / "picamera2.append",
        "pykms.py": GUEST / "pykms.py",
    }
    initrd.build(system / "kernel", MODULES, files, work / "initrd")


def _picamera2(site: Path) -> None:
    """The real picamera2, and PiDNG's Python files."""
    with tempfile.TemporaryDirectory() as folder:
        debian.wheels(site, SUITE, ("--no-deps", PICAMERA2))
        debian.run(
            *debian.PIP, "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", folder, PIDNG
        )
        with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as archive:
            archive.extractall(folder, filter="data")
        shutil.copytree(next(Path(folder).glob("*/src/pidng")), site / "pidng")
