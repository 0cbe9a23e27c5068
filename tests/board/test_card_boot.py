"""A card that imago flash made, in a machine that was never on: from power to predictions, without a network.

The image is a stand-in with the official layout and a real Debian (scripts/emulation/card.py); flash, agent,
wheels, systemd, camera driver and engine are the real ones.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import card_support
import kit_support
from emulation import card, debian, sdimage
from support import imago

pytestmark = pytest.mark.slow
TIMEOUT_S = 7200.0  # it takes 450 s of one core (trixie); 1800 s were seen with 16 others at work
HOSTNAME, USER = "trap-7", "ada"
LAST_WORDS = "installed, and frames come through"  # of onboard/firstboot.py
MARK = "=== "


@dataclass(frozen=True)
class Booted:
    """What a machine came to. suite: its release; health: two of its answers; said: answers of commands."""

    suite: str
    machine: card.Machine
    card: Path
    health: list[dict[str, Any]]
    said: dict[str, str]
    seconds: float


QUESTIONS = {
    "hostname": "hostname",
    "user": "id -un; id -Gn",
    "zone": "readlink -f /etc/localtime",
    "service": "systemctl show imago.service -p ActiveState,User,NRestarts",
    "first boot": "systemctl is-enabled imago-firstboot.service",
    "failed": "systemctl --failed --plain --no-legend",
    "wifi": "sudo cat /etc/NetworkManager/system-connections/* /run/NetworkManager/system-connections/*",
    "net": "ip route; timeout 5 bash -c 'exec 3<>/dev/tcp/1.1.1.1/53' 2>&1 || echo unreachable",
    "status": "sudo python3 -I /opt/imago/agent.pyz status",
    "room": "df --output=avail -m /boot/firmware | tail -1",
    "sudo": "sudo -n id -u",
    "shadow": "sudo grep '^ada:' /etc/shadow",
    "ordering": "systemctl show -P After cloud-init-main.service",
    "taken": "systemd-analyze",
}


def boot(suite: str, folder: Path) -> Booted:
    try:
        image = card.standin(suite)
    except (debian.Unavailable, RuntimeError) as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    kit = folder / "kit"
    kit_support.make_kit(kit, "--os", suite)
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    bundle = card_support.bundle(folder, source="/dev/video0", size="320x240", web="0.0.0.0:8080")
    target = folder / "card.img"
    done = imago(
        "flash", str(image), "--bundle", str(bundle), "--kit", str(kit), "--output", str(target),
        "--hostname", HOSTNAME, "--user", USER, "--ssh-key", f"{key}.pub", "--timezone", "Asia/Shanghai",
        "--wifi", "教室 5", "--country", "CN", env={"IMAGO_WIFI_PASSWORD": "correct horse"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    machine = card.Machine(target)
    health: list[dict[str, Any]] = []
    said: dict[str, str] = {}

    began, seconds = time.monotonic(), 0.0

    def well(one: card.Machine) -> bool:
        nonlocal seconds
        answer = ask(one)
        if answer is None or not answer.get("healthy"):
            return False
        if answer["frames"] > (health[-1]["frames"] if health else 0):  # it is well before the first one, too
            health.append(answer)
        if len(health) < 2:
            return False
        seconds = seconds or time.monotonic() - began
        if LAST_WORDS not in on_card(target, "imago/firstboot.log"):
            return False
        said.update(on_board(one, key))
        return len(said) == len(QUESTIONS)

    came = machine.run(well, timeout=TIMEOUT_S)
    assert came, told(machine, target)
    return Booted(suite, machine, target, health, said, seconds)


def ask(machine: card.Machine) -> dict[str, Any] | None:
    """The live page's health, asked from outside the machine."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", machine.page, timeout=60)
        try:
            connection.request("GET", "/healthz")
            data: dict[str, Any] = json.loads(connection.getresponse().read(10_000))
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError):
        return None
    return data


def on_card(target: Path, name: str) -> str:
    """A file of the boot partition, read from outside while the machine runs; "" where there is none."""
    try:
        return card_support.mtype(target, name).decode(errors="replace")
    except subprocess.CalledProcessError:
        return ""


def on_board(machine: card.Machine, key: Path) -> dict[str, str]:
    """What the board answers to ``QUESTIONS``, over one connection; fewer where that did not come about."""
    words = ["ssh", "-i", str(key), "-p", str(machine.ssh), "-o", "StrictHostKeyChecking=no"]
    words += ["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes"]
    words += ["-o", "ConnectTimeout=600", f"{USER}@127.0.0.1", "sh"]
    asked = (f"printf '\\n{MARK}{name}\\n'\n( {text} ) </dev/null\n" for name, text in QUESTIONS.items())
    try:
        done = subprocess.run(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=1800,
            input="".join(["exec 2>&1\n", *asked]),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {}
    parts = (part.partition("\n") for part in done.stdout.split(f"\n{MARK}")[1:])
    return {name: answer for name, _, answer in parts}


def told(machine: card.Machine, target: Path) -> str:
    """What the card's own log and the console say."""
    names = ("imago/firstboot.log", "imago/firstrun.log")
    texts = [on_card(target, name) or f"no {name}" for name in names]
    return "\n".join([*texts, f"{machine.starts} starts", *(log[-3000:] for log in machine.log)])


@pytest.fixture(scope="module", params=["trixie", "bookworm"])
def booted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Booted:
    return boot(request.param, tmp_path_factory.mktemp(request.param))


def test_predictions_from_power_on(booted: Booted) -> None:
    starts, taken = booted.machine.starts, booted.said["taken"].partition("\n")[0]
    print(f"{booted.suite}: power to predictions {booted.seconds:.0f} s, {starts} starts; {taken}")  # noqa: T201
    first, second = booted.health[:2]
    assert first["healthy"] and second["healthy"]
    assert second["frames"] > first["frames"] > 0
    assert json.loads(booted.said["status"].splitlines()[-1])["running"] is True


def test_the_board_is_what_was_chosen(booted: Booted) -> None:
    said = booted.said
    assert said["hostname"].strip() == HOSTNAME
    user, groups = said["user"].splitlines()[:2]
    assert user == USER
    assert {"video", "sudo"} <= set(groups.split())
    assert said["zone"].strip().endswith("Asia/Shanghai")
    assert said["sudo"].strip() == "0"


def test_settings_are_looked_for_where_they_are_mounted(booted: Booted) -> None:
    if booted.suite == "trixie":  # bookworm's script lies on the partition itself
        assert "boot-firmware.mount" in booted.said["ordering"].split()


def test_the_wifi_is_known_by_its_hashed_key(booted: Booted) -> None:
    from imago.deploy.flash.hashes import wifi_key

    assert wifi_key("correct horse", "教室 5") in booted.said["wifi"]
    assert "correct horse" not in booted.said["wifi"]


def test_the_service_is_hardened_and_the_first_boot_over(booted: Booted) -> None:
    assert "ActiveState=active" in booted.said["service"]
    assert "User=imago" in booted.said["service"]
    assert booted.said["first boot"].strip() == "disabled"
    assert "imago" not in booted.said["failed"]


def test_there_was_no_internet(booted: Booted) -> None:
    assert "unreachable" in booted.said["net"]


def test_the_partition_is_free_again(booted: Booted) -> None:
    """The system's own updates need it: kit and wheels are gone, the log stays."""
    names = card_support.listing(booted.card)
    assert "imago/installed.json" in names
    assert not [name for name in names if name.endswith((".whl", "board.imago"))]
    assert int(booted.said["room"]) > 400
    log = card_support.mtype(booted.card, "imago/firstboot.log").decode()
    assert LAST_WORDS in log


def test_a_repeated_first_boot_does_nothing(booted: Booted) -> None:
    names = card_support.listing(booted.card)
    assert "firstrun.sh" not in names
    assert b"systemd.run" not in card_support.mtype(booted.card, "cmdline.txt")
    assert sdimage.DISK_ID.encode() in card_support.mtype(booted.card, "cmdline.txt")
