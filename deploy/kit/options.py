"""What a kit is made of: the one source of defaults for the command line and for Python."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from imago.deploy.kit.target import Target, target
from imago.edge_runtime.errors import InputError

ENGINES = ("onnxruntime", "litert", "both")
CAMERAS = ("usb", "csi", "none")
EXTRAS = ("mqtt", "sign")
CSI_PACKAGES = ("python3-picamera2",)
DEB_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]{1,100}")


@dataclass(frozen=True, slots=True)
class KitOptions:
    """One kit. os, arch: see ``target``. camera: usb brings OpenCV, csi picamera2's Debian packages.

    extras: more of imago's extras. debs: more Debian packages. system: folder or image of the board's
    system, which Debian packages are chosen for.
    """

    os: str = "trixie"
    arch: str = "arm64"
    engine: str = "onnxruntime"
    camera: str = "usb"
    extras: tuple[str, ...] = ()
    debs: tuple[str, ...] = ()
    system: Path | None = None

    def __post_init__(self) -> None:
        self.target()
        for what, given, known in (
            ("engine", (self.engine,), ENGINES),
            ("camera", (self.camera,), CAMERAS),
            ("extra", self.extras, EXTRAS),
        ):
            for name in given:
                if name not in known:
                    raise InputError(
                        "--{name} is {value}; expected one of: {choices}",
                        name=what,
                        value=name,
                        choices=", ".join(known),
                    )
        for name in self.debs:
            if not DEB_NAME.fullmatch(name):
                raise InputError("'{name}' is no name of a Debian package", name=name)
        if self.debian_packages() and self.system is None:
            raise InputError(
                "which Debian packages are missing is written in the board's own system: give its image or "
                "folder with --system IMAGE (or --camera usb, which needs none)"
            )

    def target(self) -> Target:
        """The system it is for."""
        return target(self.os, self.arch)

    def debian_packages(self) -> tuple[str, ...]:
        """Debian packages that the board's system must have in the end."""
        return (*(CSI_PACKAGES if self.camera == "csi" else ()), *self.debs)

    def imago_extras(self) -> tuple[str, ...]:
        """Extras of ``imago-edge`` that are installed."""
        chosen = {*self.extras}
        if self.engine != "onnxruntime":
            chosen.add("litert")
        if self.camera == "usb":
            chosen.add("camera")
        return tuple(sorted(chosen))

    def left_out(self) -> frozenset[str]:
        """Wheels that imago's metadata ask for and this kit does without."""
        return frozenset({"onnxruntime"} if self.engine == "litert" else ())

    def constraints(self) -> tuple[str, ...]:
        """Bookworm's picamera2 brings a simplejpeg that numpy 2 breaks (raspberrypi/picamera2#1211)."""
        return ("numpy<2",) if self.camera == "csi" and self.os == "bookworm" else ()
