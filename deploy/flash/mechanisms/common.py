"""What the mechanisms share: groups, the kernel command line, and imago's own step."""

from __future__ import annotations

from collections.abc import Callable

from imago.deploy.flash.card import Card
from imago.edge_runtime.errors import InputError

BOOT = "/boot/firmware"  # where Raspberry Pi OS mounts the partition, since bookworm
FOLDER = "imago"  # ours, on the partition
CMDLINE = "cmdline.txt"
COUNTRY = "cfg80211.ieee80211_regdom="
# As Raspberry Pi Imager gives them: camera (video), pins, network, sudo.
GROUPS = (
    "users", "adm", "dialout", "audio", "netdev", "video", "plugdev", "cdrom", "games", "input", "gpio",
    "spi", "i2c", "render", "sudo",
)  # fmt: skip


def enable_command(*, start: bool) -> tuple[str, ...]:
    """The command that every mechanism ends in; start: at once, not at the next boot."""
    return ("/usr/bin/python3", f"{BOOT}/{FOLDER}/firstboot.py", "enable", *(["--start"] if start else []))


def command_line(read: Callable[[str], bytes | None]) -> list[str]:
    """The kernel's parameters. Raises InputError where the image has none."""
    content = read(CMDLINE)
    if content is None or not content.strip():
        raise InputError("the image has no {name}; download it again", name=CMDLINE)
    return content.decode("utf-8", "replace").split()


def with_country(card: Card, words: list[str]) -> list[str]:
    """The parameters with the radio's country, where one was given: the driver knows it from the start."""
    if not card.country:
        return words
    others = [word for word in words if not word.startswith(COUNTRY)]
    return [*others, f"{COUNTRY}{card.country}"]


def join(words: list[str]) -> bytes:
    """One line, as the firmware wants it."""
    return (" ".join(words) + "\n").encode()
