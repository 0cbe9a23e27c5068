"""What a user may choose for a card, and what the three mechanisms make of it."""

from __future__ import annotations

import json
import subprocess
import tomllib
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from imago.deploy.flash.card import Card, Wifi, read_ssh_keys, read_wifi_password
from imago.deploy.flash.hashes import login_hash
from imago.deploy.flash.mechanisms import MECHANISMS
from imago.deploy.flash.mechanisms.cloud_init import yaml
from imago.edge_runtime.errors import InputError

from card_support import CMDLINE

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7TeNVmeKEtCyOAyHFVW4DpCChvGMfCFVzyAvrnxpWm ada@desk"
ODD = "教室 \"5\" $(reboot) 'x' \\"
WIFI = Wifi(ODD, "ab" * 32, hidden=True)
CARD = Card("trap-1", "ada", login_hash("x", "salt"), (KEY,), WIFI, "CN", "Asia/Shanghai")


def made(name: str, card: Card) -> dict[str, str]:
    files = MECHANISMS[name](card, {"cmdline.txt": CMDLINE}.get)
    return {file: content.decode() for file, content in files.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hostname": "Trap_1"}, "'Trap_1' is no host name"),
        ({"hostname": "-a"}, "no host name"),
        ({"user": "root"}, "cannot be the user's name"),
        ({"user": "Ada"}, "cannot be the user's name"),
        ({"password_hash": "secret"}, "was not hashed"),
        ({"ssh_keys": ("ssh-ed25519 nonsense",)}, "no public SSH key"),
        ({"ssh_keys": (KEY + "\ncommand=x",)}, "no public SSH key"),
        ({"country": "gb"}, "two capital letters"),
        ({"country": ""}, "Wi-Fi needs --country"),
        ({"timezone": "../../etc/passwd"}, "is no time zone"),
        ({"timezone": "Mars/Olympus"}, "is no time zone"),
    ],
)
def test_bad_choices(change: dict[str, Any], message: str) -> None:
    data = {name: getattr(CARD, name) for name in Card.__dataclass_fields__}
    with pytest.raises(InputError, match=r"^[^\n]*$") as error:
        Card(**{**data, **change})
    assert message in str(error.value)


def test_secrets_are_not_shown() -> None:
    assert "ab" * 32 not in repr(CARD)
    assert CARD.password_hash not in repr(CARD)


@pytest.mark.parametrize("ssid", ["", "a" * 33, "教" * 11, "a\nb"])
def test_bad_wifi_names(ssid: str) -> None:
    with pytest.raises(InputError, match="no Wi-Fi name"):
        Wifi(ssid)


def test_wifi_passwords() -> None:
    assert read_wifi_password("AB" * 32, "x") == "ab" * 32
    assert read_wifi_password("password", "IEEE").startswith("f42c6fc52df0")
    with pytest.raises(InputError, match="has 5 bytes; expected 8 to 63") as error:
        read_wifi_password("short", "x")
    assert "short" not in str(error.value)


def test_ssh_keys_from_a_real_key_pair(tmp_path: Path) -> None:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    public = path.with_suffix(".pub").read_text().strip()
    assert read_ssh_keys(path.with_suffix(".pub")) == (public,)
    with pytest.raises(InputError, match=r"is the private key, which stays with you; give .*key\.pub"):
        read_ssh_keys(path)
    with pytest.raises(InputError, match="cannot read"):
        read_ssh_keys(tmp_path / "none")
    (tmp_path / "words").write_text("hello")
    with pytest.raises(InputError, match="is no public SSH key"):
        read_ssh_keys(tmp_path / "words")


def test_cloud_init() -> None:
    files = made("cloud-init", CARD)
    assert files["user-data"].startswith("#cloud-config\n")
    assert (
        '- ["/usr/bin/python3", "/boot/firmware/imago/firstboot.py", "enable", "--start"]'
        in files["user-data"]
    )
    assert 'passwd: "$6$salt$' in files["user-data"]
    assert "ssh_pwauth: false" in files["user-data"]
    assert (
        f'{json.dumps(ODD, ensure_ascii=False)}:\n          password: "{"ab" * 32}"'
        in files["network-config"]
    )
    *words, country, wait = files["cmdline.txt"].split()
    assert (words, country) == (CMDLINE.decode().split(), "cfg80211.ieee80211_regdom=CN")
    name, _, drop_in = wait.rpartition(":")
    assert name == "systemd.set_credential_binary=systemd.unit-dropin.cloud-init-main.service"
    assert b64decode(drop_in) == b"[Unit]\nRequiresMountsFor=/boot/firmware\n"
    again = MECHANISMS["cloud-init"](CARD, {"cmdline.txt": files["cmdline.txt"].encode()}.get)
    assert again["cmdline.txt"].decode() == files["cmdline.txt"]  # made twice, it stands there once
    other = made("cloud-init", Card("trap-2", ssh_keys=(KEY,)))
    assert other["meta-data"] != files["meta-data"]  # another instance: cloud-init begins anew
    assert "cfg80211" not in other["cmdline.txt"]
    assert "lock_passwd: true" in other["user-data"]


def test_yaml_is_read_back_by_a_yaml_parser() -> None:
    parser = pytest.importorskip("yaml", reason="PyYAML comes with ansible-core")
    data = {
        "a": ODD,
        "b": [["x", "y: z"], [ODD]],
        "c": {"d": True, "e": {}, "f": ["1", "no"]},
        "g": [{"h": 1, "i": "2"}],
    }
    assert parser.safe_load(yaml(data)) == data
    for name in ("user-data", "network-config", "meta-data"):
        assert isinstance(parser.safe_load(made("cloud-init", CARD)[name]), dict)
    network = parser.safe_load(made("cloud-init", CARD)["network-config"])["network"]
    assert network["wifis"]["wlan0"]["access-points"] == {ODD: {"password": "ab" * 32, "hidden": True}}


def test_rpi_preseed() -> None:
    text = made("rpi-preseed", CARD)["rpi-preseed.toml"]
    data = tomllib.loads(text)
    assert data["config_version"] == "1.0"
    assert data["system"] == {"hostname": "trap-1"}
    assert data["user"]["password"] == CARD.password_hash
    assert data["user"]["password_encrypted"] is True
    assert data["ssh"] == {"enabled": True, "password_authentication": False, "authorized_keys": [KEY]}
    assert data["wlan"]["ssid"] == ODD
    assert data["wlan"]["password"] == "ab" * 32
    assert data["runcmd"]["early"] == ["/usr/bin/python3 /boot/firmware/imago/firstboot.py enable --start"]


def test_firstrun_is_run_by_the_command_line_and_takes_itself_off(tmp_path: Path) -> None:
    files = made("firstrun", CARD)
    words = files["cmdline.txt"].split()
    assert words[: len(CMDLINE.split())] == CMDLINE.decode().split()
    assert "systemd.run=/boot/firmware/firstrun.sh" in words
    assert "systemd.unit=kernel-command-line.target" in words
    again = MECHANISMS["firstrun"](CARD, {"cmdline.txt": files["cmdline.txt"].encode()}.get)
    assert again["cmdline.txt"].decode() == files["cmdline.txt"]  # made twice, it stands there once
    line = tmp_path / "cmdline.txt"
    line.write_text(files["cmdline.txt"])
    sed = next(row for row in files["firstrun.sh"].splitlines() if row.startswith("sed") and "systemd" in row)
    subprocess.run(["sh", "-c", sed.replace("/boot/firmware/cmdline.txt", str(line))], check=True)
    assert line.read_text() == CMDLINE.decode().strip() + " cfg80211.ieee80211_regdom=CN\n"


def test_firstrun_is_a_script_that_a_shell_reads(tmp_path: Path) -> None:
    script = made("firstrun", CARD)["firstrun.sh"]
    subprocess.run(["sh", "-n"], input=script.encode(), check=True)
    subprocess.run(["dash", "-n"], input=script.encode(), check=True)
    assert "$(reboot)" not in script  # the odd name is there as bytes
    name = ";".join(str(byte) for byte in ODD.encode())
    assert f"ssid={name};" in script
    assert script.rstrip().endswith("exit 0")


def test_without_a_login_there_is_no_user() -> None:
    card = Card("trap-1")
    assert "users:" not in made("cloud-init", card)["user-data"]
    assert "useradd" not in made("firstrun", card)["firstrun.sh"]
    assert "user" not in tomllib.loads(made("rpi-preseed", card)["rpi-preseed.toml"])


@pytest.mark.parametrize("name", MECHANISMS)
def test_an_image_without_a_command_line(name: str) -> None:
    if name == "rpi-preseed":  # needs none
        return
    with pytest.raises(InputError, match=r"has no cmdline\.txt"):
        MECHANISMS[name](CARD, {}.get)
