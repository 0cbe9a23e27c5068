"""``imago deploy`` to a whole emulated board: real kernel, systemd, sshd, sudo, V4L2 camera; no internet.

One story on one card: first push, update, broken update, rollback, and a power cut in the middle of a
switch, after which systemd itself starts the release that had been checked. The machine is killed for
that, with all that its kernel had not written yet.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from imago.deploy.push.remote import Remote
from imago.deploy.push.session import PushOptions, push
from imago.deploy.push.ssh import Ssh, Target
from imago.edge_runtime.errors import DeployError
from imago.edge_runtime.messages import tr

import kit_support
import push_support
from emulation import card, debian, sdimage
from support import imago

pytestmark = pytest.mark.slow
USER = "pi:x:1000:1000::/home/pi:/bin/bash\n"
SHADOW = "pi:*:20000:0:99999:7:::\n"
SUDO = "pi ALL=(ALL) NOPASSWD: ALL\n"
PATIENCE = 1800


class PowerCut(Exception):
    """The test pulls the plug."""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Everything that happened, for the tests to look at."""
    folder = tmp_path_factory.mktemp("story")
    try:
        image = card.standin("trixie")
    except (debian.Unavailable, RuntimeError) as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    kit = folder / "kit"
    kit_support.make_kit(kit, "--os", "trixie")
    subprocess.run(["cp", "--sparse=always", image, folder / "card.img"], check=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
    with_user(folder / "card.img", folder)
    board = Story(card.Machine(folder / "card.img"), folder, kit)
    try:
        board.machine.run(board.first, timeout=4 * PATIENCE)
        assert board.seen["install"]["code"] == 0, board.seen["install"]["err"]
        with pytest.raises(PowerCut):
            board.machine.run(board.cut, timeout=2 * PATIENCE)
        board.machine.run(board.after, timeout=2 * PATIENCE)
    finally:
        Path(os.environ.get("IMAGO_TIMES", folder / "times.json")).write_text(json.dumps(board.seconds))
        (folder / "seen.json").write_text(json.dumps(board.seen, indent=1))
    return board.seen


def with_user(image: Path, folder: Path) -> None:
    """A user who may use sudo and logs in with our key, as Raspberry Pi Imager makes one; no cloud-init."""
    place = f"{image}?offset={(sdimage.START_MB + card.BOOT_MB) << 20}"
    requests = ["mkdir /home/pi", "mkdir /home/pi/.ssh"]
    key = (folder / "key.pub").read_text()
    texts = {
        "/etc/passwd": debian.run("debugfs", "-R", "cat /etc/passwd", place) + USER,
        "/etc/group": debian.run("debugfs", "-R", "cat /etc/group", place) + "pi:x:1000:\n",
        "/etc/shadow": debian.run("debugfs", "-R", "cat /etc/shadow", place) + SHADOW,
        "/etc/sudoers.d/010_pi-nopasswd": SUDO,
        "/home/pi/.ssh/authorized_keys": key,
        "/etc/cloud/cloud-init.disabled": "",
    }
    for number, (path, text) in enumerate(texts.items()):
        (folder / f"own{number}").write_text(text)
        requests += [f"rm {path}", f"write {folder / f'own{number}'} {path}"]
    requests += [f"sif {path} uid 1000" for path in ("/home/pi", "/home/pi/.ssh")]
    requests += [
        "sif /home/pi/.ssh/authorized_keys uid 1000",
        "sif /etc/sudoers.d/010_pi-nopasswd mode 0100440",
    ]
    requests += ["sif /etc/shadow mode 0100640", "sif /etc/shadow gid 42"]
    debian.run("debugfs", "-w", "-f", "-", place, stdin="\n".join(requests) + "\n")


class Story:
    """What is done while the machine runs; ``seen`` holds what came of it."""

    def __init__(self, machine: card.Machine, folder: Path, kit: Path) -> None:
        self.machine, self.folder, self.kit = machine, folder, kit
        self.seen: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        self.names = {}
        for number, name in enumerate(("first", "second", "third", "broken")):
            source = "/dev/video9" if name == "broken" else "/dev/video0"
            self.names[name] = push_support.bundle(
                folder / f"{name}.imago", 8080, seed=number, source=source, size="320x240", host="0.0.0.0",  # noqa: S104  in the machine
                realtime=False,
            )  # fmt: skip

    def config(self) -> Path:
        """The PC's ssh configuration for this start of the machine."""
        path = self.folder / "ssh_config"
        path.write_text(
            f"Host board\n  HostName 127.0.0.1\n  Port {self.machine.ssh}\n  User pi\n  HostKeyAlias board\n"
            f"  IdentityFile {self.folder / 'key'}\n  IdentitiesOnly yes\n  BatchMode yes\n"
            f"  UserKnownHostsFile {self.folder / 'known'}\n  StrictHostKeyChecking accept-new\n"
        )
        return path

    def ready(self) -> bool:
        """Whether sshd lets us in."""
        words = ["ssh", "-F", str(self.config()), "-o", "ConnectTimeout=5", "board", "true"]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    def deploy(self, *words: str) -> subprocess.CompletedProcess[str]:
        """``imago deploy``, its time noted."""
        return imago("deploy", "board", *words, "--ssh-config", str(self.config()), timeout=PATIENCE)

    def push(self, name: str, what: str) -> None:
        began = time.monotonic()
        done = self.deploy(
            str(self.folder / f"{name}.imago"), "--offline", str(self.kit), "--json", "-", "--timeout", "180"
        )
        self.seconds[what] = round(time.monotonic() - began, 1)
        self.seen[what] = {"code": done.returncode, "out": done.stdout, "err": done.stderr}

    def status(self) -> Any:
        done = self.deploy("--status", "--json", "-")
        return json.loads(done.stdout) if done.returncode == 0 else done.stderr

    def first(self, machine: card.Machine) -> bool:
        """First install, update, broken update, rollback."""
        if not self.ready():
            return False
        self.push("first", "install")
        self.seen["status"] = self.status()
        self.seen["page"] = self.page()
        self.push("second", "update")
        self.push("broken", "broken update")
        self.seen["after broken"] = self.status()
        done = self.deploy("--rollback", "--timeout", "180")
        self.seen["rollback"] = {"code": done.returncode, "err": done.stderr, "status": self.status()}
        self.seen["logs"] = self.deploy("--logs").stdout
        return True

    def cut(self, machine: card.Machine) -> bool:
        """The power fails while the third release is being watched."""
        if not self.ready():
            return False

        def say(text: str) -> None:
            if text.startswith(tr("switching to {release}", release="")):
                time.sleep(1)
                raise PowerCut

        with Ssh(Target("board", config=self.config())) as ssh:
            remote = Remote(ssh, "/opt/imago", say=say)
            wheels = {path.name: path for path in (self.kit / "wheels").glob("*.whl")}
            push(remote, self.folder / "third.imago", PushOptions(wheels, timeout_s=180))
        raise DeployError("the power did not fail")

    def after(self, machine: card.Machine) -> bool:
        """Nobody helps: systemd starts what is right."""
        if not self.ready():
            return False
        began = time.monotonic()
        while time.monotonic() - began < PATIENCE:
            self.seen["after the cut"] = self.status()
            health = isinstance(self.seen["after the cut"], dict) and self.seen["after the cut"]["health"]
            if health and health["status"] == 200 and health["frames"]:
                break
            time.sleep(5)
        self.push("third", "after the cut, pushed again")
        return True

    def page(self) -> Any:
        """The health page, asked from outside the machine; or why there is none."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.machine.page}/healthz", timeout=30
            ) as answer:
                return json.loads(answer.read())
        except OSError as error:
            return {"healthy": False, "frames": 0, "error": str(error)}


def test_first_install_offline_under_systemd(story: dict[str, Any]) -> None:
    assert story["install"]["code"] == 0, story["install"]["err"]
    assert json.loads(story["install"]["out"])["installed"]
    status = story["status"]
    assert status["service"] == "systemd" and status["running"]
    assert status["health"]["frames"] > 0
    assert story["page"]["healthy"] and story["page"]["frames"] > 0


def test_update_sends_the_model_only(story: dict[str, Any]) -> None:
    assert story["update"]["code"] == 0, story["update"]["err"]
    data = json.loads(story["update"]["out"])
    assert not data["installed"] and data["sent"] < 300_000


def test_a_broken_update_is_taken_back(story: dict[str, Any]) -> None:
    assert story["broken update"]["code"] == 2
    assert "runs again" in story["broken update"]["err"] and "video9" in story["broken update"]["err"]
    second = json.loads(story["update"]["out"])["release"]
    assert story["after broken"]["current"]["release"] == second
    assert story["after broken"]["health"]["status"] == 200


def test_rollback(story: dict[str, Any]) -> None:
    assert story["rollback"]["code"] == 0, story["rollback"]["err"]
    first = json.loads(story["install"]["out"])["release"]
    assert story["rollback"]["status"]["current"]["release"] == first
    assert "looks at" in story["logs"]


def test_a_power_cut_in_the_middle_of_a_switch(story: dict[str, Any]) -> None:
    first = json.loads(story["install"]["out"])["release"]
    assert story["after the cut"]["current"]["release"] == first, story["after the cut"]
    assert story["after the cut"]["health"]["status"] == 200
    again = story["after the cut, pushed again"]
    assert again["code"] == 0, again["err"]
