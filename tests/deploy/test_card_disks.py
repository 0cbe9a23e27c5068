"""Which disks may be overwritten, from /sys and /proc as real machines show them; writing, reading back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from imago.deploy.flash import writing
from imago.deploy.flash.card import Card
from imago.deploy.flash.disks import Disk, System, disk_at, disks
from imago.deploy.flash.make import FlashOptions, flash
from imago.edge_runtime.errors import InputError, StorageError

import card_support
from support import ROOT

USB = "devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0/host6/target6:0:0/6:0:0:0/block"
SATA = "devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block"
MMC = "devices/pci0000:00/0000:02:00.0/mmc_host/mmc0/mmc0:aaaa/block"
GB = 10**9


class Machine:
    """A copy of the parts of /sys and /proc that the kernel fills on a PC with a disk and a card reader."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.system = System(root / "sys", root / "proc")
        (root / "sys" / "class" / "block").mkdir(parents=True)
        (root / "proc" / "self").mkdir(parents=True)
        (root / "proc" / "swaps").write_text("Filename Type Size Used Priority\n")
        self.mounts: list[str] = ["21 1 0:19 / /proc rw - proc proc rw"]
        self.number = 0

    def add(self, name: str, place: str, size: int, *, partitions: int = 1, **files: str) -> Path:
        folder = self.root / "sys" / place / name
        self._fill(folder, size, {"removable": "0", "ro": "0", **files})
        (folder / "device").mkdir(exist_ok=True)
        (folder / "device" / "model").write_text("Card Reader \n")
        for number in range(1, partitions + 1):
            part = folder / (f"{name}p{number}" if name[-1].isdigit() else f"{name}{number}")
            self._fill(part, size // 4, {"partition": str(number)})
        return folder

    def mount(self, folder: Path, place: str) -> None:
        number = (folder / "dev").read_text()
        self.mounts.append(f"30 1 {number} / {place} rw,relatime shared:1 - ext4 /dev/x rw")
        (self.root / "proc" / "self" / "mountinfo").write_text("\n".join(self.mounts) + "\n")

    def _fill(self, folder: Path, size: int, files: dict[str, str]) -> None:
        (folder / "holders").mkdir(parents=True)
        self.number += 1
        for name, text in {"size": str(size // 512), "dev": f"8:{self.number}", **files}.items():
            (folder / name).write_text(text)
        (self.root / "sys" / "class" / "block" / folder.name).symlink_to(folder)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    found = Machine(tmp_path / "machine")
    found.add("sda", SATA, 500 * GB)
    found.add("sdb", USB, 32 * GB, removable="1")
    found.add("mmcblk0", MMC, 16 * GB, partitions=2)
    found.add("mmcblk0boot0", MMC, 4 * 10**6, partitions=0)
    return found


def said(machine: Machine, name: str, need: int = 3 * GB) -> str:
    """What it is refused with; "" where it is taken."""
    try:
        disk_at(Path("/dev") / name, machine.system).refuse(need)
    except InputError as error:
        assert "\n" not in str(error)
        return str(error)
    return ""


def test_cards_are_taken(machine: Machine) -> None:
    assert said(machine, "sdb") == said(machine, "mmcblk0") == ""
    assert [disk.name for disk in disks(machine.system)] == ["mmcblk0", "mmcblk0boot0", "sda", "sdb"]
    assert disk_at(Path("/dev/sdb"), machine.system).size == 32 * GB


def test_built_in_disks_are_refused(machine: Machine) -> None:
    assert "/dev/sda (Card Reader, 500 GB) is built in" in said(machine, "sda")
    assert "is built in" in said(machine, "mmcblk0boot0", 0)


def test_mounted_disks_are_refused(machine: Machine) -> None:
    block = machine.root / "sys" / "class" / "block"
    machine.mount(block / "sdb1", r"/media/ada/my\040card")
    assert "in use: mounted at /media/ada/my card" in said(machine, "sdb")
    machine.mount(block / "mmcblk0", "/")
    assert "mounted at /" in said(machine, "mmcblk0")


def test_disks_that_something_else_holds_are_refused(machine: Machine) -> None:
    (machine.root / "sys" / USB / "sdb" / "sdb1" / "holders" / "dm-0").mkdir()
    assert "in use by dm-0" in said(machine, "sdb")
    (machine.root / "proc" / "swaps").write_text("Filename Type\n/dev/mmcblk0p2 partition 1 0 -2\n")
    assert "in use by swap" in said(machine, "mmcblk0")


def test_read_only_large_and_small_disks_are_refused(machine: Machine) -> None:
    machine.add("sdc", USB, 16 * GB, ro="1")
    machine.add("sdd", USB, 2000 * GB)
    machine.add("sde", USB, 2 * GB)
    assert "is write-protected" in said(machine, "sdc")
    assert "has 2000 GB, more than a camera's card (256 GB at most)" in said(machine, "sdd")
    assert "has 2000 MB, the image needs 3000 MB" in said(machine, "sde")


def test_what_is_no_disk(machine: Machine, tmp_path: Path) -> None:
    assert "/dev/sdb1 is a partition; give the whole disk (/dev/sdb)" in said(machine, "sdb1")
    assert "/dev/sdz is no disk" in said(machine, "sdz")
    by_id = tmp_path / "usb-Card_Reader"
    (tmp_path / "sdb").touch()
    by_id.symlink_to("sdb")
    assert disk_at(by_id, machine.system).name == "sdb"


def test_this_machine_can_be_listed() -> None:
    """The real /sys: whatever is here has a size, and what holds / is never taken."""
    numbers = set()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if line.split(" ")[4] == "/":
            numbers.add(line.split(" ")[2])
    for disk in disks():
        assert disk.size > 0
        if "/" in disk.mounts:
            with pytest.raises(InputError, match="in use"):
                disk.refuse(0)


def image_of(folder: Path, size: int) -> Path:
    path = folder / "image.img"
    path.write_bytes(os.urandom(size))
    return path


@pytest.mark.parametrize("size", [10_000_000, writing.CHUNK, 4096])
def test_written_and_read_back(size: int, tmp_path: Path) -> None:
    image, card = image_of(tmp_path, size), tmp_path / "card"
    card.write_bytes(b"\xaa" * 12_000_000)
    ticks: list[int] = []
    writing.write_card(image, card, ticks.append)
    content = card.read_bytes()
    assert content[:size] == image.read_bytes()
    assert content[max(size, writing.CHUNK) :] == b"\xaa" * (12_000_000 - max(size, writing.CHUNK))
    assert sum(ticks) == 2 * size


def test_a_card_that_forgets_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake card takes every byte and keeps none beyond its true size."""
    image, card = image_of(tmp_path, 20_000_000), tmp_path / "card"
    card.write_bytes(bytes(20_000_000))
    put = writing._put
    monkeypatch.setattr(writing, "_put", lambda h, piece, place: put(h, piece, place % 16_777_216))
    with pytest.raises(StorageError, match=r"does not hold what was written \(at 16 MB\)"):
        writing.write_card(image, card, lambda n: None)
    assert card.read_bytes()[:512] != image.read_bytes()[:512]


def test_a_full_card(tmp_path: Path) -> None:
    image = image_of(tmp_path, 10_000_000)
    with pytest.raises(StorageError, match="writing to /dev/full failed"):
        writing.write_card(image, Path("/dev/full"), lambda n: None)


def test_a_card_cut_off_has_no_partition_table(tmp_path: Path) -> None:
    image, card = image_of(tmp_path, 30_000_000), tmp_path / "card"
    card.write_bytes(b"\xaa" * 30_000_000)

    def stop(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writing.write_card(image, card, stop)
    assert card.read_bytes()[:512] == bytes(512)


def test_a_whole_card(machine: Machine, tmp_path: Path) -> None:
    """From image to card: asked once, written, nothing left beside the image."""
    image = card_support.image(tmp_path / "os.img")
    bundle, kit = card_support.bundle(tmp_path), card_support.kit(tmp_path / "kit")
    before = sorted(tmp_path.iterdir())
    card = tmp_path / "machine" / "sdb"
    card.write_bytes(bytes(image.stat().st_size + 1_000_000))
    asked: list[Disk] = []
    options = FlashOptions(image, bundle, kit, Card("trap-1"), device=card)
    flash(options, lambda line: None, asked.append, machine.system)
    assert [disk.name for disk in asked] == ["sdb"]
    assert "user-data" in card_support.listing(card)
    assert sorted(tmp_path.iterdir()) == before


def test_no_means_no(machine: Machine, tmp_path: Path) -> None:
    image = card_support.image(tmp_path / "os.img")
    card = tmp_path / "machine" / "sdb"
    card.write_bytes(b"mine" * 1000)

    def no(disk: Disk) -> None:
        raise InputError("{device} was not typed; nothing was written", device=disk.device)

    bundle, kit = card_support.bundle(tmp_path), card_support.kit(tmp_path / "kit")
    options = FlashOptions(image, bundle, kit, Card(), device=card)
    with pytest.raises(InputError, match="nothing was written"):
        flash(options, lambda line: None, no, machine.system)
    assert card.read_bytes() == b"mine" * 1000


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle(signum: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C or kill while it unpacks: one line, and no half image is left."""
    image = tmp_path / "os.img"
    small = card_support.image(tmp_path / "small.img")
    with small.open("rb") as file, image.open("wb") as out:
        out.write(file.read(1 << 20))
        os.truncate(image, 12 << 30)  # a table whose partitions end early, and 12 GB of nothing behind
    output = tmp_path / "out"
    output.mkdir()
    bundle, kit = card_support.bundle(tmp_path), card_support.kit(tmp_path / "kit")
    command = [sys.executable, "-m", "imago.cli.main", "flash", str(image), "--no-login"]
    command += ["--bundle", str(bundle), "--kit", str(kit)]
    command += ["--output", str(output / "card.img")]
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en"}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not list(output.iterdir()):
            time.sleep(0.01)
        process.send_signal(signum)
        said = process.communicate()[1]
    assert process.returncode == 130
    assert said == "imago: interrupted\n"
    assert not list(output.iterdir())
