"""Images: the right one is customised and read back with mtools; every wrong one is one clear line."""

from __future__ import annotations

import hashlib
import json
import lzma
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imago.deploy.flash.card import Card
from imago.deploy.flash.disks import Disk
from imago.deploy.flash.examine import examine
from imago.deploy.flash.hashes import login_hash
from imago.deploy.flash.make import Flashed, FlashOptions, flash
from imago.edge_runtime.errors import BundleError, ImagoError, InputError, StorageError

import card_support
from card_support import AMD64, ARMHF, BOOT_FILES, CMDLINE, listing, mtype
from emulation import debian, sdimage
from support import imago

CARD = Card("trap-1", "ada", login_hash("sesame", "salt"))


@pytest.fixture(scope="session")
def trixie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return card_support.image(tmp_path_factory.mktemp("trixie") / "os.img")


@pytest.fixture(scope="session")
def kits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("kits")
    return {release: card_support.kit(folder / release, release) for release in ("trixie", "bookworm")}


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return card_support.bundle(tmp_path_factory.mktemp("bundle"))


Make = Callable[..., Flashed]
Refused = Callable[..., str]


def never(disk: Disk) -> None:
    raise AssertionError(disk)


@pytest.fixture
def make(bundle: Path, kits: dict[str, Path]) -> Make:
    """Customise an image into a file."""

    def call(image: Path, output: Path, **more: Any) -> Flashed:
        options = {"image": image, "bundle": bundle, "kit": kits["trixie"], "card": CARD, **more}
        return flash(FlashOptions(output=output, **options), lambda line: None, never)

    return call


@pytest.fixture
def refused(make: Make, tmp_path: Path) -> Refused:
    """Try to; the one line that it is refused with, after which nothing is left behind."""

    def call(image: Path, kind: type[ImagoError] = InputError, **more: Any) -> str:
        before = sorted(tmp_path.iterdir())
        with pytest.raises(kind) as error:
            make(image, tmp_path / "card.img", **more)
        assert sorted(tmp_path.iterdir()) == before
        assert "\n" not in str(error.value)
        return str(error.value)

    return call


def test_what_is_on_the_card(make: Make, trixie: Path, bundle: Path, tmp_path: Path) -> None:
    kit = card_support.kit(tmp_path / "kit")
    before = hashlib.sha256(trixie.read_bytes()).hexdigest()
    made = make(trixie, tmp_path / "card.img", kit=kit)
    assert (made.release, made.mechanism) == ("trixie", "cloud-init")
    assert made.reference == "Raspberry Pi reference 2025-10-01"
    names = listing(tmp_path / "card.img")
    wheel = next((kit / "wheels").iterdir())
    expected = {"user-data", "network-config", "meta-data", "imago/agent.pyz", "imago/firstboot.py"}
    expected |= {"imago/board.imago", "imago/kit/kit.json", f"imago/kit/wheels/{wheel.name}"}
    assert names >= expected | set(BOOT_FILES)
    assert mtype(tmp_path / "card.img", "imago/board.imago") == bundle.read_bytes()
    assert mtype(tmp_path / "card.img", f"imago/kit/wheels/{wheel.name}") == wheel.read_bytes()
    assert b'hostname: "trap-1"' in mtype(tmp_path / "card.img", "user-data")
    assert mtype(tmp_path / "card.img", "cmdline.txt").startswith(
        CMDLINE.strip() + b" systemd.set_credential"
    )
    assert hashlib.sha256(trixie.read_bytes()).hexdigest() == before
    place = f"{tmp_path / 'card.img'}?offset={(sdimage.START_MB + card_support.BOOT_MB) << 20}"
    subprocess.run(["e2fsck", "-fn", place], check=True, capture_output=True, env={"PATH": debian.PATH})
    fsck = tmp_path / "boot.fat"
    with (tmp_path / "card.img").open("rb") as file:
        file.seek(sdimage.START_MB << 20)
        fsck.write_bytes(file.read(card_support.BOOT_MB << 20))
    subprocess.run(["fsck.vfat", "-n", fsck], check=True, capture_output=True, env={"PATH": debian.PATH})


@pytest.mark.parametrize(
    ("release", "has", "mechanism", "file"),
    [
        ("trixie", ("cloud-init",), "cloud-init", "user-data"),
        ("trixie", ("cloud-init", "rpi-preseed"), "rpi-preseed", "rpi-preseed.toml"),
        ("bookworm", (), "firstrun", "firstrun.sh"),
    ],
)
def test_the_image_says_how(
    release: str,
    has: tuple[str, ...],
    mechanism: str,
    file: str,
    make: Make,
    kits: dict[str, Path],
    tmp_path: Path,
) -> None:
    image = card_support.image(tmp_path / "os.img", release=release, has=has)
    assert make(image, tmp_path / "card.img", kit=kits[release]).mechanism == mechanism
    assert file in listing(tmp_path / "card.img")


@pytest.mark.parametrize("packing", ["xz", "zip", "two xz streams"])
def test_packed_images(packing: str, make: Make, trixie: Path, tmp_path: Path) -> None:
    content = trixie.read_bytes()
    packed = tmp_path / "os.img.xz"
    if packing == "zip":
        packed = tmp_path / "os.zip"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("readme.txt", "x")
            archive.writestr("2025-10-01-raspios.img", content)
    elif packing == "xz":
        packed.write_bytes(lzma.compress(content, preset=0))
    else:
        half = len(content) // 2
        streams = (lzma.compress(part, preset=0) for part in (content[:half], content[half:]))
        packed.write_bytes(b"\0\0\0\0".join(streams))
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    made = make(packed, tmp_path / "card.img", sha256=digest)
    assert made.size == len(content)
    assert examine(tmp_path / "card.img", packed).release == "trixie"
    if packing == "xz":  # the checksum of what is packed is right, too
        plain = hashlib.sha256(content).hexdigest()
        assert make(packed, tmp_path / "card2.img", sha256=plain).size == len(content)


def test_a_wrong_checksum(refused: Refused, trixie: Path) -> None:
    assert "does not have the checksum 000" in refused(trixie, sha256="0" * 64)
    assert "is no SHA-256" in refused(trixie, sha256="1234")


def test_truncated_images(refused: Refused, trixie: Path, tmp_path: Path) -> None:
    content = trixie.read_bytes()
    (tmp_path / "a.img").write_bytes(content[:-1000])
    assert "is cut short" in refused(tmp_path / "a.img")
    packed = lzma.compress(content, preset=0)
    (tmp_path / "a.xz").write_bytes(packed[:-500])
    assert "is damaged or cut short" in refused(tmp_path / "a.xz")
    (tmp_path / "b.xz").write_bytes(packed[: len(packed) // 2])
    assert "is damaged or cut short" in refused(tmp_path / "b.xz")
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 255
    (tmp_path / "c.xz").write_bytes(flipped)
    assert "is damaged or cut short" in refused(tmp_path / "c.xz")
    (tmp_path / "d.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    assert "is damaged or cut short" in refused(tmp_path / "d.zip")


def test_other_files(refused: Refused, trixie: Path, tmp_path: Path) -> None:
    def said(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        return refused(tmp_path / name)

    assert "a file without a partition table" in said("a.img", b"hello")
    assert "a file without a partition table" in said("b.img", bytes(100_000))
    assert "an installation disc (ISO)" in said("c.img", bytes(0x8001) + b"CD001" + bytes(100_000))
    assert "packed with gzip" in said("d.img", b"\x1f\x8b" + bytes(100))
    gpt = bytearray(trixie.read_bytes()[:100_000])
    gpt[450] = 0xEE
    assert "another kind of machine (GPT)" in said("e.img", bytes(gpt))
    gpt[450] = 0x83
    assert "partitions of type 83 83" in said("f.img", bytes(gpt))
    with zipfile.ZipFile(tmp_path / "g.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    assert "holds 0 .img files" in refused(tmp_path / "g.zip")
    assert "cannot read" in refused(tmp_path / "none.img")


@pytest.mark.parametrize(
    ("release", "machine", "boot", "message"),
    [
        ("trixie", ARMHF, BOOT_FILES, "is a 32-bit system (armhf)"),
        ("trixie", AMD64, BOOT_FILES, "a system for amd64 processors"),
        ("bullseye", card_support.ARM64, BOOT_FILES, "too old or unknown"),
        (
            "trixie",
            card_support.ARM64,
            {"cmdline.txt": CMDLINE},
            "is not a Raspberry Pi OS image (Debian GNU/Linux 13",
        ),
    ],
)
def test_other_systems(
    release: str, machine: int, boot: dict[str, bytes], message: str, refused: Refused, tmp_path: Path
) -> None:
    image = card_support.image(tmp_path / "os.img", release=release, machine=machine, boot=boot)
    assert message in refused(image)


def test_trixie_without_any_mechanism(refused: Refused, tmp_path: Path) -> None:
    image = card_support.image(tmp_path / "os.img", has=())
    assert "neither cloud-init nor rpi-preseed" in refused(image)


def test_a_full_boot_partition(refused: Refused, trixie: Path, tmp_path: Path) -> None:
    kit = card_support.kit(tmp_path / "kit", size=20_000_000)
    said = refused(trixie, StorageError, kit=kit)
    assert "need 71 MB on the card's boot partition" in said


def test_a_kit_for_another_system(refused: Refused, trixie: Path, tmp_path: Path) -> None:
    kit = card_support.kit(tmp_path / "kit", release="bookworm")
    assert "is for bookworm arm64, the image is trixie arm64" in refused(trixie, kit=kit)
    other = card_support.kit(tmp_path / "amd64", arch="amd64")
    assert "is for trixie amd64, the image is trixie arm64" in refused(trixie, kit=other)


def cut(wheel: Path) -> None:
    wheel.write_bytes(wheel.read_bytes()[:-1])


def exchange(wheel: Path) -> None:
    wheel.write_bytes(bytes(wheel.stat().st_size))


def link(wheel: Path) -> None:
    wheel.symlink_to(wheel.rename(wheel.parents[2] / "aside"))


def add(wheel: Path) -> None:
    (wheel.parent / "evil.whl").write_bytes(b"x")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (Path.unlink, f"wheels/{card_support.WHEELS[0]} is missing (faults: 1;"),
        (cut, f"wheels/{card_support.WHEELS[0]} has another size"),
        (exchange, f"wheels/{card_support.WHEELS[0]} has another content"),
        (link, f"wheels/{card_support.WHEELS[0]} is a link"),
        (add, "wheels/evil.whl does not belong to it"),
    ],
)
def test_a_damaged_kit(
    harm: Callable[[Path], None], message: str, refused: Refused, trixie: Path, tmp_path: Path
) -> None:
    kit = card_support.kit(tmp_path / "kit")
    harm(kit / "wheels" / card_support.WHEELS[0])
    said = refused(trixie, kit=kit)
    assert f"{kit} is damaged: {message}" in said
    assert said.endswith("make it again with imago kit --renew")


def test_what_is_no_kit(refused: Refused, trixie: Path, tmp_path: Path) -> None:
    assert "is no whole kit: there is no kit.json in it" in refused(trixie, kit=tmp_path)
    kit = card_support.kit(tmp_path / "kit")
    (kit / "kit.json").write_text('{"target": {"os": "trixie", "arch": "arm64"}}')
    assert "is not a kit that this imago can read ('schema')" in refused(trixie, kit=kit)


def test_only_what_the_kit_lists_is_copied(make: Make, trixie: Path, tmp_path: Path) -> None:
    kit = card_support.kit(tmp_path / "kit")
    (kit / "notes.txt").write_text("mine")
    (kit / "link").symlink_to("/etc/passwd")
    make(trixie, tmp_path / "card.img", kit=kit)
    there = {name for name in listing(tmp_path / "card.img") if name.startswith("imago/kit/")}
    expected = {"kit.json", "requirements.txt", *(f"wheels/{name}" for name in card_support.WHEELS)}
    assert there == {f"imago/kit/{name}" for name in expected}


def test_a_kit_that_lacks_what_the_bundle_needs(
    refused: Refused, trixie: Path, bundle: Path, tmp_path: Path
) -> None:
    camera = card_support.bundle(tmp_path, source="/dev/video0")
    assert "needs opencv-python, which the kit" in refused(trixie, bundle=camera)
    kit = card_support.kit(tmp_path / "kit", wheels=card_support.WHEELS[:1])
    assert "needs onnxruntime, which the kit" in refused(trixie, bundle=bundle, kit=kit)


def test_a_signed_bundle(make: Make, refused: Refused, trixie: Path, bundle: Path, tmp_path: Path) -> None:
    from imago.edge_runtime.bundle.minisign import file_pieces, sign, write_keys

    copy = tmp_path / "x.imago"
    copy.write_bytes(bundle.read_bytes())
    key = write_keys(tmp_path / "key", tmp_path / "key.pub")
    other = tmp_path / "other.pub"
    write_keys(tmp_path / "other", other)
    refused(trixie, ImagoError, bundle=copy, trust=tmp_path / "key.pub")  # no signature
    (tmp_path / "x.imago.minisig").write_text(sign(file_pieces(copy), key, "test"))
    refused(trixie, ImagoError, bundle=copy, trust=other)
    make(trixie, tmp_path / "card.img", bundle=copy, trust=tmp_path / "key.pub")
    names = listing(tmp_path / "card.img")
    assert {"imago/trusted.pub", "imago/board.imago.minisig"} <= names


def test_a_damaged_bundle(refused: Refused, trixie: Path, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "x.imago").write_bytes(bundle.read_bytes()[:200])
    assert "is damaged" in refused(trixie, BundleError, bundle=tmp_path / "x.imago")


def test_a_file_that_is_there_stays(make: Make, refused: Refused, trixie: Path, tmp_path: Path) -> None:
    output = tmp_path / "card.img"
    output.write_text("mine")
    assert "is there already" in refused(trixie)
    assert output.read_text() == "mine"
    broken = tmp_path / "a.img"
    broken.write_bytes(trixie.read_bytes()[:-1000])
    refused(broken, force=True)
    assert output.read_text() == "mine"  # replaced by a whole image, or not at all
    make(trixie, output, force=True)
    assert "user-data" in listing(output)


def test_secrets_are_nowhere(trixie: Path, bundle: Path, kits: dict[str, Path], tmp_path: Path) -> None:
    """Neither password is in what is printed, nor in the image in the clear; both are there hashed."""
    output = tmp_path / "card.img"
    command = [
        "flash",
        str(trixie),
        "--bundle",
        str(bundle),
        "--kit",
        str(kits["trixie"]),
        "--output",
        str(output),
        "--password-stdin",
    ]
    command += ["--wifi", "Lab", "--country", "GB", "--json", str(tmp_path / "r.json")]
    env = {"IMAGO_WIFI_PASSWORD": "wifi-sesame-9"}
    done = imago(*command, env=env, stdin="login-sesame-7\n")
    assert done.returncode == 0, done.stderr
    content = output.read_bytes()
    for secret in (b"wifi-sesame-9", b"login-sesame-7"):
        assert secret not in content
        assert secret.decode() not in done.stdout + done.stderr
    assert b"$6$" in mtype(output, "user-data")
    assert output.stat().st_mode & 0o077 == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["mechanism"] == "cloud-init"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_from_the_command_line(trixie: Path, bundle: Path, kits: dict[str, Path], tmp_path: Path) -> None:
    def line(*words: str) -> str:
        done = imago("flash", *words)
        assert done.returncode == 2, done
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert "Traceback" not in done.stderr
        return done.stderr

    base = (str(trixie), "--bundle", str(bundle), "--kit", str(kits["trixie"]))
    assert "give the image, --bundle FILE.imago" in line()
    assert "where to?" in line(*base, "--no-login")
    assert "give --ssh-key FILE, --password-stdin or --no-login" in line(
        *base, "--output", str(tmp_path / "c.img")
    )
    assert "is no disk" in line(*base, "--no-login", "--device", "/dev/nothing-there")
    assert not list(tmp_path.iterdir())
