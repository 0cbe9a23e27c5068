"""Which cameras are here, and what they can do."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from imago.edge_runtime.messages import tr

# Drivers whose /dev/video nodes are a part of the Pi's own camera or of its codecs, not a camera by itself.
OF_THE_PI = ("unicam", "rp1-cfe", "bcm2835-isp", "pispbe", "bcm2835-codec", "rpi-hevc-dec", "rpivid")


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """source: what to give to ``--source``. modes: (format, width, height, fastest rate; 0 where not known).

    controls: name → "least…most". note: why it cannot be used as it is, or what to know.
    """

    source: str
    name: str
    modes: tuple[tuple[str, int, int, float], ...] = ()
    controls: dict[str, str] = field(default_factory=dict)
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain keys for ``--json``."""
        return asdict(self)


def cameras() -> list[CameraInfo]:
    """Every camera that can be found without taking a picture."""
    return [*_pi_cameras(), *_devices()]


def _pi_cameras() -> list[CameraInfo]:
    try:
        from picamera2 import Picamera2
    except ImportError:
        return []
    found = []
    for number, facts in enumerate(Picamera2.global_camera_info()):
        if "/usb" in str(facts.get("Id", "")):
            continue  # libcamera shows USB cameras as well; they are listed as /dev/video
        found.append(_pi_camera(Picamera2, number, str(facts.get("Model", "?"))))
    return found


def _pi_camera(picamera2: Any, number: int, model: str) -> CameraInfo:
    """Modes and controls need the camera opened: one that is in use is named without them."""
    source = "picamera" if number == 0 else f"picamera:{number}"
    try:
        camera = picamera2(number)
    except Exception as error:  # noqa: BLE001  libcamera raises anything; a list must not end there
        return CameraInfo(source, model, note=tr("cannot be opened: {reason}", reason=error))
    try:
        controls = {name: _range(limits) for name, limits in sorted(camera.camera_controls.items())}
        return CameraInfo(source, model, _sensor_modes(camera), controls)
    finally:
        camera.close()


def _sensor_modes(camera: Any) -> tuple[tuple[str, int, int, float], ...]:
    try:
        modes = camera.sensor_modes
    except Exception:  # noqa: BLE001  a camera without a raw stream
        return ()
    return tuple((str(m["format"]), *map(int, m["size"]), float(m.get("fps", 0))) for m in modes)  # type: ignore[misc]


def _range(limits: Any) -> str:
    return f"{limits[0]}…{limits[1]}"


def _devices() -> list[CameraInfo]:
    if sys.platform != "linux":
        return []
    paths = sorted(Path("/dev").glob("video*"), key=lambda p: int(re.sub(r"\D", "", p.name) or 0))
    return [info for path in paths if (info := _device(str(path))) is not None]


def _device(path: str) -> CameraInfo | None:
    from imago.edge_runtime.cameras import v4l2_abi as abi
    from imago.edge_runtime.cameras.pixels import COST_COLOR

    try:
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return CameraInfo(path, "?", note=tr("cannot be opened: {reason}", reason=error.strerror or error))
    try:
        device = abi.query(fd)
        if not device.captures:
            return None
        if device.driver in OF_THE_PI:
            note = tr("part of the Pi's own camera: use picamera")
            return CameraInfo(path, device.card, note=note)
        listed = abi.modes(fd)
        readable = [m for m in listed if m.fourcc in COST_COLOR]
        modes = tuple((m.fourcc.strip(), m.width, m.height, round(m.fps, 2)) for m in readable)
        controls = {c.name: f"{c.least}…{c.most}" for c in abi.controls(fd)}
        note = "" if modes else tr("has no picture format that can be read")
        return CameraInfo(path, device.card, modes, controls, note)
    except OSError as error:
        return CameraInfo(path, "?", note=tr("cannot be opened: {reason}", reason=error.strerror or error))
    finally:
        os.close(fd)
