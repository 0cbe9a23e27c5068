"""cloud-init's NoCloud files (Raspberry Pi OS trixie): user-data, network-config, meta-data.

https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from imago.deploy.flash.card import Card, Wifi
from imago.deploy.flash.mechanisms.common import (
    BOOT,
    CMDLINE,
    GROUPS,
    command_line,
    enable_command,
    join,
    with_country,
)

# cloud-init may look for its files before their partition is mounted, and then sets nothing up
# (canonical/cloud-init#6614): a drop-in for its unit, as a credential on the kernel's command line
# (systemd-debug-generator(8), systemd 256 and newer; trixie has 257).
DROP_IN = base64.b64encode(f"[Unit]\nRequiresMountsFor={BOOT}\n".encode()).decode()
WAIT = f"systemd.set_credential_binary=systemd.unit-dropin.cloud-init-main.service:{DROP_IN}"
HEAD = "#cloud-config\n# written by imago flash\n"


def files(card: Card, read: Callable[[str], bytes | None]) -> Mapping[str, bytes]:
    """The files to write."""
    user_data = HEAD + yaml(_user_data(card))
    network = yaml({"network": _network(card.wifi)})
    # What is set up is set up once per instance: other settings must be another instance.
    instance = hashlib.sha256((user_data + network).encode()).hexdigest()[:16]
    words = [word for word in with_country(card, command_line(read)) if word != WAIT]
    return {
        "user-data": user_data.encode(),
        "network-config": network.encode(),
        "meta-data": yaml({"dsmode": "local", "instance-id": f"imago-{instance}"}).encode(),
        CMDLINE: join([*words, WAIT]),
    }


def _user_data(card: Card) -> dict[str, Any]:
    data: dict[str, Any] = {"hostname": card.hostname, "manage_etc_hosts": True}
    if card.timezone:
        data["timezone"] = card.timezone
    user: dict[str, Any] = {
        "name": card.user,
        "groups": ",".join(GROUPS),
        "shell": "/bin/bash",
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
        "lock_passwd": not card.password_hash,
    }
    if card.password_hash:
        user["passwd"] = card.password_hash
    if card.ssh_keys:
        user["ssh_authorized_keys"] = list(card.ssh_keys)
    if card.has_login:
        data["users"] = [user]
        data["ssh_pwauth"] = not card.ssh_keys
    ssh = [["systemctl", "enable", "--now", "--no-block", "ssh"]] if card.has_login else []
    data["runcmd"] = [*ssh, list(enable_command(start=True))]
    return data


def _network(wifi: Wifi | None) -> dict[str, Any]:
    network: dict[str, Any] = {
        "version": 2,
        "ethernets": {"eth0": {"dhcp4": True, "optional": True}},
    }
    if wifi is not None:
        point: dict[str, Any] = {"password": wifi.key} if wifi.key else {}
        if wifi.hidden:
            point["hidden"] = True
        network["wifis"] = {
            "wlan0": {"dhcp4": True, "optional": True, "access-points": {wifi.ssid: point}},
        }
    return network


def yaml(value: Any, depth: int = 0) -> str:
    """Plain data as block YAML; every text in double quotes as JSON writes it: YAML 1.2 reads it alike."""
    pad = "  " * depth
    if isinstance(value, Mapping) and value:
        return "".join(f"{pad}{_key(key)}:{_behind(one, depth)}" for key, one in value.items())
    if isinstance(value, list) and value and not all(isinstance(one, str) for one in value):
        return "".join(f"{pad}-{_behind(one, depth)}" for one in value)
    return f"{pad}{_scalar(value)}\n"


def _behind(value: Any, depth: int) -> str:
    block = yaml(value, depth + 1)
    inline = (block.count("\n") == 1 and not isinstance(value, Mapping)) or not value
    return f" {block.strip()}\n" if inline else f"\n{block}"


def _key(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() and key.isascii() else _scalar(key)


def _scalar(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
