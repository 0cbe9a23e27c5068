"""What a mechanism writes, taken by the real programs of a real arm64 system; nothing boots here.

bookworm: the script runs, twice. trixie: cloud-init's own schema, and netplan's Wi-Fi for NetworkManager.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from imago.deploy.flash.card import Card, Wifi
from imago.deploy.flash.hashes import login_hash, wifi_key
from imago.deploy.flash.mechanisms import MECHANISMS
from imago.deploy.flash.payload import FIRST_BOOT

from card_support import CMDLINE
from emulation import card, chroot, debian

pytestmark = pytest.mark.slow
SSID = "教室 5"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7TeNVmeKEtCyOAyHFVW4DpCChvGMfCFVzyAvrnxpWm ada@desk"
WIFI = Wifi(SSID, wifi_key("correct horse", SSID))
CARD = Card("trap-7", "ada", login_hash("sesame", "salt"), (KEY,), WIFI, "CN", "Asia/Shanghai")
LOOK = """
cat /etc/hostname /etc/hosts /etc/timezone
readlink /etc/localtime
id ada
grep ^ada: /etc/shadow
stat -c '%a %U %n' /home/ada/.ssh /home/ada/.ssh/authorized_keys /etc/NetworkManager/system-connections/*
cat /home/ada/.ssh/authorized_keys /etc/sudoers.d/010_imago-user /etc/ssh/sshd_config.d/10-imago.conf
readlink /etc/systemd/system/multi-user.target.wants/imago-firstboot.service
visudo -c
"""
SCHEMA = """
import yaml
from cloudinit.config.schema import SchemaType, get_schema, validate_cloudconfig_schema as check
boot = "/boot/firmware/"
check(yaml.safe_load(open(boot + "user-data")), schema=get_schema(), strict=True)
kind = SchemaType.NETWORK_CONFIG_V2
network = yaml.safe_load(open(boot + "network-config"))["network"]
check(network, schema=get_schema(kind), schema_type=kind, strict=True)
print("both are as cloud-init wants them")
"""
NETPLAN = """
cp /boot/firmware/network-config /etc/netplan/50-cloud-init.yaml
printf 'network:\\n  version: 2\\n  renderer: NetworkManager\\n' > /etc/netplan/00-all.yaml
chmod 600 /etc/netplan/*
/usr/libexec/netplan/generate
cat /run/NetworkManager/system-connections/*
"""
Run = Callable[[str, str], str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a script in a release's system, with what its mechanism writes on the boot partition."""

    def call(suite: str, script: str) -> str:
        try:
            tree = card.root(suite)
        except (debian.Unavailable, RuntimeError) as error:
            if os.environ.get("CI"):
                pytest.fail(str(error))
            pytest.skip(str(error))
        boot, scratch = tmp_path / "boot", tmp_path / "scratch"
        (boot / "imago").mkdir(parents=True)
        scratch.mkdir()
        shutil.copy(FIRST_BOOT, boot / "imago")
        name = {"bookworm": "firstrun", "trixie": "cloud-init"}[suite]
        for file, content in MECHANISMS[name](CARD, {"cmdline.txt": CMDLINE}.get).items():
            (boot / file).write_bytes(content)
            (boot / file).chmod(0o755)  # as FAT files are
        return chroot.run(tree, boot, script, scratch)

    return call


def test_firstrun_sets_a_bookworm_up_and_takes_itself_off(run: Run, tmp_path: Path) -> None:
    """Run twice, since a power cut before its last step runs it again."""
    script = "cp /boot/firmware/firstrun.sh /tmp/again\n/boot/firmware/firstrun.sh && sh /tmp/again\n" + LOOK
    said = run("bookworm", script)
    assert said.startswith("trap-7\n")
    assert said.count("127.0.1.1\ttrap-7\n") == 1
    assert "Asia/Shanghai\n/usr/share/zoneinfo/Asia/Shanghai\n" in said
    assert "uid=1000(ada)" in said
    assert {"27(sudo)", "44(video)"} <= set(said.partition("groups=")[2].partition("\n")[0].split(","))
    assert f"ada:{CARD.password_hash}:" in said
    assert "700 ada /home/ada/.ssh\n600 ada /home/ada/.ssh/authorized_keys\n" in said
    assert "600 root /etc/NetworkManager/system-connections/imago-wifi.nmconnection\n" in said
    assert said.count(KEY) == 1
    assert "PasswordAuthentication no\n/etc/systemd/system/imago-firstboot.service\n" in said
    assert "/etc/sudoers.d/010_imago-user: parsed OK" in said
    boot = tmp_path / "boot"
    assert not (boot / "firstrun.sh").exists()
    assert (boot / "cmdline.txt").read_text() == CMDLINE.decode().strip() + " cfg80211.ieee80211_regdom=CN\n"


def test_cloud_init_takes_what_trixie_gets(run: Run) -> None:
    assert "both are as cloud-init wants them" in run("trixie", f"python3 - <<'END'\n{SCHEMA}END\n")


def test_netplan_makes_the_wifi_of_it(run: Run) -> None:
    said = run("trixie", NETPLAN)
    assert f"psk={WIFI.key}" in said
    assert "key-mgmt=wpa-psk" in said
    name = ";".join(str(byte) for byte in SSID.encode())
    assert f"ssid={SSID}" in said or f"ssid={name}" in said
