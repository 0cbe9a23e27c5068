"""rpi-preseed.toml, which Raspberry Pi OS is moving to (raspberrypi/rpi-preseed, configuration 1.0).

Its parser takes a subset of TOML: strings on one line, with ``\\\\`` and ``\\"`` as the only escapes.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping

from imago.deploy.flash.card import Card
from imago.deploy.flash.mechanisms.common import GROUPS, enable_command

NAME = "rpi-preseed.toml"
VERSION = "1.0"
Value = str | bool | tuple[str, ...]


def files(card: Card, read: Callable[[str], bytes | None]) -> Mapping[str, bytes]:
    """The file to write. rpi-preseed sets the radio's country itself."""
    sections: dict[str, dict[str, Value]] = {"system": {"hostname": card.hostname}}
    if card.has_login:
        sections["user"] = {"name": card.user, "passwordless_sudo": True, "groups": GROUPS}
        if card.password_hash:
            sections["user"] |= {"password": card.password_hash, "password_encrypted": True}
        sections["ssh"] = {"enabled": True, "password_authentication": not card.ssh_keys}
        if card.ssh_keys:
            sections["ssh"]["authorized_keys"] = card.ssh_keys
    if card.wifi is not None:
        secured: dict[str, Value] = {"password": card.wifi.key, "password_encrypted": True}
        sections["wlan"] = {
            "ssid": card.wifi.ssid,
            **(secured if card.wifi.key else {}),
            "hidden": card.wifi.hidden,
            "country": card.country,
            "key_mgmt": "wpa-psk" if card.wifi.key else "none",
        }
    if card.timezone:
        sections["locale"] = {"timezone": card.timezone}
    # "early" runs before the network and waits for no clock: ours is done in a moment and works offline.
    sections["runcmd"] = {"early": (shlex.join(enable_command(start=True)),)}
    return {NAME: _toml(sections).encode()}


def _toml(sections: Mapping[str, Mapping[str, Value]]) -> str:
    lines = ["# written by imago flash", f"config_version = {_text(VERSION)}"]
    for name, values in sections.items():
        lines += ["", f"[{name}]", *(f"{key} = {_value(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_text, value))}]"
    return _text(value)


def _text(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
