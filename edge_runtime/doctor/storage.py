"""Disk and clock: will the records still be there in a month, and will their times be right?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from imago.edge_runtime.doctor.findings import Finding
from imago.edge_runtime.messages import tr
from imago.edge_runtime.system import pairs

FULL_MB, NEARLY_FULL_MB = 200, 1000
WORN = 0x09  # eMMC: 80–90 % of its life is used
OLDEST_YEAR = 2026  # this program is not older: a clock before that was never set


def space_findings(folder: str, free: int, total: int) -> Iterator[Finding]:
    """Free bytes on the disk that holds ``folder``."""
    free_mb = free // 10**6
    text = tr("{free} of {total} GB are free in {folder}", free=_gb(free), total=_gb(total), folder=folder)
    remedy = tr("remove what is not needed (sudo apt clean, old crops), or use a larger card")
    if free_mb < FULL_MB:
        yield Finding("disk.space", "problem", text, remedy)
    elif free_mb < NEARLY_FULL_MB:
        yield Finding("disk.space", "warning", text, remedy)
    else:
        yield Finding("disk.space", "ok", text)


def mount_findings(mounts: str) -> Iterator[Finding]:
    """Is the root writable, and does it keep what is written? ``mounts``: text of /proc/mounts."""
    roots = [line.split() for line in mounts.splitlines() if line.split()[1:2] == ["/"]]
    if not roots:
        return
    kind, options = roots[-1][2], roots[-1][3].split(",")
    if kind == "overlay":
        yield Finding(
            "disk.root",
            "warning",
            tr("the root is an overlay: everything that is written is lost at power-off"),
            tr(
                "keep records on another disk, or switch the overlay off in raspi-config, Performance Options"
            ),
        )
    elif "ro" in options:
        yield Finding(
            "disk.root",
            "problem",
            tr("the root is mounted read-only: nothing can be recorded"),
            tr("after disk errors the system does that by itself: see dmesg, then check or replace the card"),
        )
    else:
        yield Finding("disk.root", "ok", tr("the root is writable ({kind})", kind=kind))


def health_findings(ext4_errors: Mapping[str, str], life_time: str | None, swaps: str) -> Iterator[Finding]:
    """Errors that ext4 has counted per device, wear of an eMMC (``life_time``: "0x01 0x02"), swap."""
    for device, text in ext4_errors.items():
        count = int(text) if text.isdigit() else 0
        if count:
            yield Finding(
                "disk.errors",
                "problem",
                tr("the file system on {device} has counted {count} error(s)", device=device, count=count),
                tr("copy the records away now; then check the card with fsck, or replace it"),
            )
    if ext4_errors and not any(text.isdigit() and int(text) for text in ext4_errors.values()):
        yield Finding("disk.errors", "ok", tr("no file system errors are counted"))
    worn = max((int(word, 16) for word in re.findall(r"0x[0-9a-fA-F]{1,2}\b", life_time or "")), default=0)
    if worn >= WORN:
        yield Finding(
            "disk.wear",
            "warning",
            tr("the flash memory has used more than {percent} % of its life", percent=(worn - 1) * 10),
            tr("plan its replacement, and keep copies of the records"),
        )
    if re.search(r"^/dev/mmcblk|^/var/swap", swaps, re.MULTILINE):
        yield Finding(
            "disk.swap",
            "note",
            tr("swap lies on the card, which wears it and makes waits long"),
            tr("use zram instead: sudo apt install zram-tools, or rpi-swap on newer images"),
        )


def clock_findings(timedatectl: str | None, year: int, has_rtc: bool) -> Iterator[Finding]:
    """Is the clock right? ``timedatectl``: what ``timedatectl show`` prints."""
    facts = pairs(timedatectl, "=")
    if year < OLDEST_YEAR:
        yield Finding(
            "clock.sync",
            "problem",
            tr("the clock says the year {year}: records would carry wrong times", year=year),
            tr("connect it to the network, or set the time: sudo date -s '2026-05-01 12:00'"),
        )
    elif facts.get("NTPSynchronized") == "yes":
        yield Finding("clock.sync", "ok", tr("the clock is synchronised"))
    elif facts:
        yield Finding(
            "clock.sync",
            "note" if has_rtc else "warning",
            tr("the clock is not synchronised: times of records may be wrong"),
            tr("sudo timedatectl set-ntp true; where there is no network, a battery clock keeps the time"),
        )


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f}"
