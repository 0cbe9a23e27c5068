"""``--control NAME=VALUE`` for the Pi camera, as libcamera's controls.

``hflip``, ``vflip``: 1 mirrors. ``focus``: ``continuous``, ``auto`` (once), or a distance in dioptres
(1 / metres; 0: far away) for cameras with autofocus. ``exposure``: microseconds; ``gain``: analogue gain; 0
leaves either to the camera. ``zoom``: ``x,y,w,h`` in shares of the sensor, enlarged by the ISP from its full
resolution (``--roi`` cuts the finished picture instead). Any other name is libcamera's own, as in
``AeExposureMode=1``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.roi import Roi

FLIPS = ("hflip", "vflip")
FOCUS: dict[str, dict[str, Any]] = {"continuous": {"AfMode": 2}, "auto": {"AfMode": 1, "AfTrigger": 0}}
NUMBERS = {"exposure": ("ExposureTime", int), "gain": ("AnalogueGain", float)}


def flips(controls: Mapping[str, str]) -> dict[str, bool]:
    """What libcamera.Transform takes. Raises InputError for anything but 0 and 1."""
    chosen = {name: controls[name] for name in FLIPS if name in controls}
    for name, value in chosen.items():
        if value not in ("0", "1"):
            raise _refused(name, value, "0, 1")
    return {name: value == "1" for name, value in chosen.items()}


def settings(controls: Mapping[str, str], known: Mapping[str, Any]) -> dict[str, Any]:
    """libcamera's controls. known: ``Picamera2.camera_controls``: name → (least, most, default).

    Raises InputError for what this camera does not have or not go to.
    """
    wanted: dict[str, Any] = {}
    for name, value in controls.items():
        if name in FLIPS:
            continue
        if name == "zoom":
            wanted["ScalerCrop"] = _zoom(value, known)
        elif name == "focus":
            wanted |= FOCUS.get(value) or {"AfMode": 0, "LensPosition": _number(name, value, float)}
        elif name in NUMBERS:
            own, kind = NUMBERS[name]
            wanted[own] = _number(name, value, kind)
        else:
            wanted[name] = _number(name, value, float if "." in value else int)
    for name in wanted:
        if name not in known:
            raise _refused(name, str(wanted[name]), ", ".join(sorted(known)) or tr("none"))
        _check_range(name, wanted[name], known[name])
    return wanted


def _check_range(name: str, value: Any, limits: Any) -> None:
    if name == "ScalerCrop" or value == 0:  # 0 leaves it to the camera
        return
    least, most = limits[0], limits[1]
    if isinstance(least, int | float) and isinstance(most, int | float) and not least <= value <= most:
        raise _refused(name, str(value), f"{least}…{most}")


def _zoom(text: str, known: Mapping[str, Any]) -> tuple[int, int, int, int]:
    if "ScalerCrop" not in known:
        raise _refused("zoom", text, ", ".join(sorted(known)) or tr("none"))
    roi = Roi.parse(text)
    if not roi.shares:
        raise _refused("zoom", text, "0.25,0.25,0.5,0.5")
    left, top, width, height = known["ScalerCrop"][1]
    x, y, w, h = roi.box(width, height)
    return left + x, top + y, w, h


def _number(name: str, text: str, kind: type[int] | type[float]) -> int | float:
    try:
        return kind(text)
    except ValueError:
        raise _refused(name, text, tr("a number")) from None


def _refused(name: str, value: str, choices: str) -> InputError:
    return InputError(
        "{uri} cannot set {name} to {value}; it has {controls}",
        uri="picamera",
        name=name,
        value=value,
        controls=choices,
    )
