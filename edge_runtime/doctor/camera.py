"""Cameras: what the system shows, who may open it, and the memory that they need in one piece (CMA)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from imago.edge_runtime.doctor.findings import Finding
from imago.edge_runtime.messages import tr
from imago.edge_runtime.system import pairs

SMALL_CMA_MB, LOW_CMA_MB = 64, 24
# Video nodes of a Raspberry Pi that are no cameras: codecs, the ISP, raw receivers that libcamera drives.
NO_CAMERA = re.compile(r"codec|isp|unicam|rpivid|hevc|rp1-cfe|pispbe|image_fx", re.IGNORECASE)
LISTED = re.compile(r"^\s*(\d+)\s*:\s*(\S+)", re.MULTILINE)


def device_findings(nodes: Mapping[str, str], readable: Mapping[str, bool]) -> Iterator[Finding]:
    """Video devices: ``nodes`` maps ``/dev/video0`` to its driver's name, ``readable`` to our right."""
    cameras = {path: name for path, name in nodes.items() if not NO_CAMERA.search(name)}
    for path, name in sorted(cameras.items()):
        if readable.get(path, True):
            yield Finding("camera.usb", "ok", tr("camera {path}: {name}", path=path, name=name))
        else:
            yield Finding(
                "camera.usb",
                "warning",
                tr("this user may not open {path} ({name})", path=path, name=name),
                tr("sudo usermod -aG video $USER, then log in again"),
            )


def ribbon_findings(listing: str | None, is_pi: bool, others: bool) -> Iterator[Finding]:
    """Cameras on the ribbon cable. ``listing``: what ``rpicam-hello --list-cameras`` prints.

    others: a USB camera is there, so that none on the cable is nothing to mend.
    """
    if not is_pi:
        return
    if listing is None:
        yield Finding(
            "camera.ribbon",
            "note",
            tr("cameras on the ribbon cable cannot be listed (rpicam-hello is missing)"),
            tr("sudo apt install rpicam-apps-lite"),
        )
        return
    found = LISTED.findall(listing)
    for number, name in found:
        yield Finding("camera.ribbon", "ok", tr("Pi camera {number}: {name}", number=number, name=name))
    if not found:
        yield Finding(
            "camera.ribbon",
            "note" if others else "warning",
            tr("no camera on the ribbon cable is found"),
            tr("power off, seat the cable (contacts to contacts); config.txt needs camera_auto_detect=1"),
        )


def no_camera_findings(findings: list[Finding]) -> Iterator[Finding]:
    """One word where no camera at all was found."""
    if not any(f.check in ("camera.usb", "camera.ribbon") for f in findings):
        yield Finding(
            "camera.usb",
            "note",
            tr("no camera is found"),
            tr("plug one in; videos, streams and --source synthetic work without"),
        )


def cma_findings(meminfo: str, is_pi: bool) -> Iterator[Finding]:
    """Contiguous memory: camera frames come out of it, and out of it a Zero 2 W runs first."""
    facts = {key: value.split() for key, value in pairs(meminfo, ":").items() if key.startswith("Cma")}
    total, free = (int(facts.get(key, ["0"])[0]) // 1024 for key in ("CmaTotal", "CmaFree"))
    if not is_pi or not total:
        return
    text = tr("camera memory (CMA): {free} of {total} MB free", free=free, total=total)
    if total < SMALL_CMA_MB or free < LOW_CMA_MB:
        yield Finding(
            "camera.cma",
            "warning",
            text,
            tr(
                "ask for smaller or fewer pictures, end other camera programs, or add "
                "dtoverlay=vc4-kms-v3d,cma-128 to /boot/firmware/config.txt and reboot"
            ),
        )
    else:
        yield Finding("camera.cma", "ok", text)
