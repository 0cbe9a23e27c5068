"""Power, heat and throttling: a weak supply is the most common cause of a board that hangs or slows down."""

from __future__ import annotations

from collections.abc import Iterator

from imago.edge_runtime.doctor.findings import Finding, Level
from imago.edge_runtime.messages import tr
from imago.edge_runtime.system import throttle_bits

HOT_C, TOO_HOT_C = 75.0, 84.0  # the firmware slows all boards down from 80 to 85 °C
PI5_SUPPLY_MA = 5000

UNDER_VOLTAGE, CAPPED, THROTTLED, SOFT_LIMIT = 0, 1, 2, 3
SINCE_BOOT = 16  # the same flags again, this many bits higher: "has occurred since the board was started"


def throttle_findings(answer: str | None, is_pi: bool) -> Iterator[Finding]:
    """Decode ``vcgencmd get_throttled``: what is happening now, and what has happened since the start."""
    bits = throttle_bits(answer)
    if bits is None:
        if is_pi:
            yield Finding(
                "power.throttled",
                "note",
                tr("power and throttling cannot be read (vcgencmd get_throttled)"),
                tr("sudo apt install raspi-utils, and add this user to the group video"),
            )
        return
    found = [
        *_power(_state(bits, UNDER_VOLTAGE)),
        *_heat(_state(bits, THROTTLED) or _state(bits, CAPPED) or _state(bits, SOFT_LIMIT)),
    ]
    yield from found
    if not found:
        text = tr("no low voltage and no throttling since the board was started")
        yield Finding("power.throttled", "ok", text)


def temperature_findings(celsius: float | None) -> Iterator[Finding]:
    """How hot the processor is."""
    if celsius is None:
        return
    level: Level = "problem" if celsius >= TOO_HOT_C else "warning" if celsius >= HOT_C else "ok"
    remedy = tr("give it a heat sink or a fan, more air, or less to do (--fps)") if level != "ok" else ""
    yield Finding("power.temperature", level, tr("processor at {degrees:.0f} °C", degrees=celsius), remedy)


def supply_findings(board: str, max_current: bytes | None) -> Iterator[Finding]:
    """Raspberry Pi 5 only: what current its supply offers (device tree ``chosen/power/max_current``, mA)."""
    if "Raspberry Pi 5" not in board or max_current is None or len(max_current) != 4:
        return
    milliamperes = int.from_bytes(max_current, "big")
    if milliamperes < PI5_SUPPLY_MA:
        yield Finding(
            "power.supply",
            "note",
            tr(
                "the power supply offers {amperes:.0f} A: USB devices get 0.6 A in all",
                amperes=milliamperes / 1e3,
            ),
            tr("a USB camera or disk needs the 27 W supply (5 A)"),
        )
    else:
        yield Finding("power.supply", "ok", tr("the power supply offers 5 A"))


def _state(bits: int, flag: int) -> str:
    """``now``, ``before`` (since the board was started) or empty."""
    if bits >> flag & 1:
        return "now"
    return "before" if bits >> (flag + SINCE_BOOT) & 1 else ""


def _power(state: str) -> Iterator[Finding]:
    remedy = tr("use the official power supply and a short, thick cable; unplug hungry USB devices")
    if state == "now":
        text = tr("the supply voltage is too low right now: the board may hang or damage its card")
        yield Finding("power.voltage", "problem", text, remedy)
    elif state:
        text = tr("the supply voltage has been too low since the board was started")
        yield Finding("power.voltage", "warning", text, remedy)


def _heat(state: str) -> Iterator[Finding]:
    remedy = tr("give it a heat sink or a fan; measurements made meanwhile do not hold")
    if state == "now":
        text = tr("the processor is being slowed down right now")
        yield Finding("power.throttling", "warning", text, remedy)
    elif state:
        text = tr("the processor has been slowed down since the board was started")
        yield Finding("power.throttling", "note", text, remedy)
