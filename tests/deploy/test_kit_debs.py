"""Debian packages that a board's system lacks, by the real apt: a small archive, and (slow) real trixie."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from imago.deploy.agent import write_agent
from imago.deploy.kit.build import Listener
from imago.deploy.kit.debs import fetch_debs
from imago.deploy.kit.options import KitOptions
from imago.deploy.kit.system import BoardSystem, linux_partition, opened
from imago.deploy.kit.target import target
from imago.edge_runtime.errors import InputError, StorageError

from deb_support import PATH, build, need
from support import imago

SECTOR = 512


def deb(archive: Path, name: str, depends: str = "", arch: str = "arm64", recommends: str = "") -> str:
    """Build a real package; its paragraph for the archive's list."""
    wishes = {"Depends": depends, "Recommends": recommends}
    file, fields = build(archive, name, arch=arch, **{key: value for key, value in wishes.items() if value})
    body = file.read_bytes()
    fields |= {
        "Filename": f"./{file.name}",
        "Size": str(len(body)),
        "SHA256": hashlib.sha256(body).hexdigest(),
    }
    return "".join(f"{key}: {value}\n" for key, value in fields.items()) + "\n"


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """The root folder of a board's system, with an archive where picamera2 and what it needs can be had."""
    need("apt-get", "dpkg-deb")
    archive, root = tmp_path / "archive", tmp_path / "root"
    archive.mkdir()
    text = deb(archive, "python3-picamera2", "python3-libcamera, python3-numpy", "all", recommends="gui")
    text += deb(archive, "python3-libcamera", "libc6 (>= 2.36), libcamera0.7")
    text += deb(archive, "libcamera0.7", "libc6 (>= 2.36)")
    text += deb(archive, "gui", "libcamera0.7")
    text += deb(archive, "python3-numpy")
    (archive / "Packages").write_text(text)
    for folder in ("etc/apt/sources.list.d", "var/lib/dpkg"):
        (root / folder).mkdir(parents=True)
    (root / "etc/os-release").write_text("ID=debian\nVERSION_CODENAME=trixie\n")
    (root / "etc/apt/sources.list").write_text(f"deb [trusted=yes] copy:{archive}/ ./\n")
    installed = "Package: {}\nStatus: install ok installed\nArchitecture: arm64\nVersion: {}\nMaintainer: n\n"
    installed += "Description: d\n\n"
    (root / "var/lib/dpkg/status").write_text(
        installed.format("libc6", "2.41-1") + installed.format("python3-numpy", "1.0")
    )
    return root


def options(system: Path, **more: str) -> KitOptions:
    return KitOptions(camera="csi", system=system, **more)  # type: ignore[arg-type]


def test_exactly_what_is_missing(system: Path, tmp_path: Path) -> None:
    steps: list[tuple[str, int]] = []
    work = tmp_path / "work"
    fetch_debs(work, options(system), Listener(step=lambda what, total: steps.append((what, total))))
    names = {path.name.split("_")[0] for path in (work / "debs").iterdir()}
    assert names == {
        "python3-picamera2",
        "python3-libcamera",
        "libcamera0.7",
    }  # numpy is there; gui is a wish
    assert ("debs", 3) in steps
    before = {path.name: path.read_bytes() for path in (work / "debs").iterdir()}
    fetch_debs(work, options(system), Listener())  # a second run, as after a kill: the cache is full
    assert {path.name: path.read_bytes() for path in (work / "debs").iterdir()} == before


def test_from_an_image_without_mounting(system: Path, tmp_path: Path) -> None:
    need("mkfs.ext4", "debugfs")
    card = tmp_path / "card.img"
    write_card(system, card)
    assert linux_partition(card.read_bytes(), card) == 8192 * SECTOR
    fetch_debs(tmp_path / "work", options(card), Listener())
    assert len(list((tmp_path / "work" / "debs").iterdir())) == 3
    with card.open("r+b") as file:
        file.truncate(8192 * SECTOR + 3000)
    with pytest.raises(InputError, match="cut short or damaged"), opened(card, tmp_path) as cut:
        cut.check(target("trixie", "arm64"))


@pytest.mark.parametrize("packing", ["xz", "zip"])
def test_from_an_image_as_it_was_downloaded(system: Path, tmp_path: Path, packing: str) -> None:
    need("mkfs.ext4", "debugfs")
    write_card(system, tmp_path / "card.img")
    content = (tmp_path / "card.img").read_bytes()
    packed = tmp_path / "raspios-lite.img.xz"
    if packing == "zip":
        packed = tmp_path / "raspios-lite.zip"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("raspios-lite.img", content)
    else:
        packed.write_bytes(lzma.compress(content, preset=0))
    steps: list[tuple[str, int]] = []
    listener = Listener(step=lambda what, total: steps.append((what, total)))
    work = tmp_path / "work"
    (work / "system").mkdir(parents=True)
    (work / "system" / "system.img").write_bytes(b"left by a kill")
    fetch_debs(work, options(packed), listener)
    assert len(list((work / "debs").iterdir())) == 3
    assert ("unpacking", len(content) // 1_000_000) in steps
    assert not (work / "system").exists()


def test_what_is_no_image_of_a_system(tmp_path: Path) -> None:
    need("debugfs")

    def said(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError) as error, opened(tmp_path / name, tmp_path / "work"):
            pass
        assert not list((tmp_path / "work").glob("*"))
        return str(error.value)

    assert "is packed with gzip; expected .img, .img.xz or .zip" in said("a.img.gz", b"\x1f\x8b" + bytes(99))
    assert "there is no Linux partition in it" in said("b.img", bytes(1000))
    assert "there is no Linux partition in it" in said("c.img.xz", lzma.compress(bytes(10_000)))
    table = bytes(446) + bytes([0, 0, 0, 0, 0x83, 0, 0, 0, 1]) + bytes(55) + b"\x55\xaa"
    assert "is damaged or cut short" in said("d.img.xz", lzma.compress(table + os.urandom(10_000))[:-2000])
    assert "is damaged or cut short" in said("e.zip", b"PK\x03\x04" + bytes(100))


def write_card(root: Path, card: Path) -> None:
    """An SD card's layout: MBR, a FAT partition's place, an ext4 root."""
    part = card.with_suffix(".ext4")
    subprocess.run(["mkfs.ext4", "-q", "-d", root, part, "16M"], check=True, env={**os.environ, "PATH": PATH})
    size = part.stat().st_size // SECTOR
    table = b"".join(
        bytes([0, 0, 0, 0, kind, 0, 0, 0]) + start.to_bytes(4, "little") + count.to_bytes(4, "little")
        for kind, start, count in ((0x0C, 2048, 6144), (0x83, 8192, size), (0, 0, 0), (0, 0, 0))
    )
    with card.open("wb") as file:
        file.write(bytes(446) + table + b"\x55\xaa")
        file.seek(8192 * SECTOR)
        file.write(part.read_bytes())


def test_wrong_systems_are_one_clear_line(system: Path, tmp_path: Path) -> None:
    work, picture = tmp_path / "work", tmp_path / "holiday.img"
    picture.write_bytes(b"\xff\xd8" * 1000)
    for given, words in (
        (tmp_path / "nowhere", "no such file or folder"),
        (picture, "no SD card image"),
        (tmp_path / "archive", "no list of installed packages"),
    ):
        with pytest.raises(InputError, match=words):
            fetch_debs(work, options(given), Listener())
    with pytest.raises(InputError, match="this system is trixie, and the kit is for bookworm"):
        fetch_debs(work, options(system, os="bookworm"), Listener())
    with pytest.raises(InputError, match="this system is arm64, and the kit is for amd64"):
        fetch_debs(work, options(system, arch="amd64"), Listener())
    assert not (work / "debs").exists()


def test_an_archive_without_picamera2(system: Path, tmp_path: Path) -> None:
    lists = (tmp_path / "archive" / "Packages").read_text().split("\n\n")
    (tmp_path / "archive" / "Packages").write_text("\n\n".join(lists[1:]))
    with pytest.raises(InputError, match="do not know python3-picamera2"):
        fetch_debs(tmp_path / "work", options(system), Listener())


def test_what_does_not_fit_together_is_said(system: Path, tmp_path: Path) -> None:
    status = system / "var/lib/dpkg/status"
    status.write_text(status.read_text().replace("2.41-1", "2.31-1"))  # and the archive has no newer libc6
    with pytest.raises(StorageError, match="apt-get failed"):
        fetch_debs(tmp_path / "work", options(system), Listener())


def test_links_and_hooks_of_a_system_lead_nowhere(system: Path, tmp_path: Path) -> None:
    """A hostile image: links to this computer's files, and commands in apt's configuration."""
    secret, trace = tmp_path / "secret.list", tmp_path / "was-run"
    secret.write_text("deb http://secret.example/ x main\n")
    (system / "etc/apt/sources.list.d/a.list").symlink_to(secret)
    (system / "etc/apt/sources.list.d/b.list").symlink_to(
        "../../../../../../../../" + str(secret).lstrip("/")
    )
    (system / "etc/apt/sources.list.d/c.list").symlink_to("c.list")
    (system / "etc/apt/apt.conf.d").mkdir()
    (system / "etc/apt/apt.conf.d/99hook").write_text(f'APT::Update::Pre-Invoke {{"touch {trace}";}};\n')
    found = BoardSystem(system)
    assert [path.name for path in found.files("etc/apt/sources.list.d")] == []
    assert found.file("../../../../etc/passwd") is None
    fetch_debs(tmp_path / "work", options(system), Listener())
    assert not trace.exists()
    assert not list((tmp_path / "work" / "apt").rglob("a.list"))
    inside = system / "usr/share"
    inside.mkdir(parents=True)
    (inside / "real").write_text("x")
    (system / "link").symlink_to("/usr/share/real")
    assert BoardSystem(system).file("link") == inside / "real"  # as the system itself would follow it


@pytest.mark.slow
def test_the_real_trixie_gets_what_it_lacks_and_installs_it_without_network(tmp_path: Path) -> None:
    """A fresh Debian, apt's real archive; then the kit's packages in that system, with the network cut."""
    need("mmdebstrap", "unshare")
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("installing packages into a folder needs root")
    root = tmp_path / "trixie"
    subprocess.run(
        ["mmdebstrap", "--variant=apt", "--quiet", "--include=python3", "trixie", root], check=True
    )
    done = imago(
        "kit", "-o", str(tmp_path / "kit"), "--arch", "amd64", "--camera", "none",
        "--deb", "python3-libcamera", "--system", str(root), timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shutil.copytree(tmp_path / "kit", root / "kit")
    write_agent(root / "agent.pyz")
    enter = f'mount -t proc proc "{root}/proc"; exec chroot "{root}" "$@"'
    cut = ["unshare", "--mount", "--net", "--pid", "--fork", "sh", "-c", enter, "sh"]

    def install() -> dict[str, Any]:
        words = ["python3", "-I", "/agent.pyz", "install", "--wheels", "/kit", "--root", "/opt/imago"]
        there = subprocess.run([*cut, *words], capture_output=True, text=True, check=False)
        assert there.returncode == 0, there.stdout + there.stderr
        said: dict[str, Any] = json.loads(there.stdout.splitlines()[-1])
        return said

    first = install()
    assert "python3-libcamera" in first["debs"] and len(first["debs"]) == len(
        list((root / "kit/debs").iterdir())
    )
    again = install()
    assert (again["debs"], again["changed"]) == ([], False)
    python = f"/opt/imago/envs/{first['env']}/bin/python"
    for words in ([python, "-c", "import libcamera, numpy, imago.cli.main"], ["dpkg", "--audit"]):
        done_there = subprocess.run([*cut, *words], capture_output=True, text=True, check=False)
        assert (done_there.returncode, done_there.stdout) == (0, ""), done_there.stderr
