"""The real systemd, in namespaces of its own: the hardened unit, an update, a broken one, a check that dies.

A writable overlay over this very system, systemd as process 1: a board that boots in seconds. Needs root.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imago.deploy.agent import write_agent

from push_support import bundle, download_wheels, free_port

pytestmark = pytest.mark.slow
SYSTEMD = Path("/lib/systemd/systemd")
PYTHON = "/usr/bin/python3"
# What a system in namespaces cannot do, or must not do to the one around it.
MASKED = (
    "systemd-udevd.service", "systemd-udev-trigger.service", "systemd-networkd.service", "networking.service",
    "getty.target", "systemd-logind.service", "apt-daily.timer", "systemd-timesyncd.service",
    "systemd-modules-load.service", "systemd-sysctl.service", "systemd-remount-fs.service", "local-fs.target",
    "dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
    "sys-kernel-config.mount", "sys-fs-fuse-connections.mount", "proc-sys-fs-binfmt_misc.automount",
)  # fmt: skip
BOOT = """
set -e
mount -t tmpfs tmpfs "$PLACE"
mkdir "$PLACE/upper" "$PLACE/work" "$PLACE/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$PLACE/upper,workdir=$PLACE/work" "$PLACE/root"
root="$PLACE/root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mkdir -p "$root$SHARE"
mount --bind "$SHARE" "$root$SHARE"
for unit in $MASKED; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done
echo 11111111111111111111111111111111 > "$root/etc/machine-id"
exec chroot "$root" /usr/bin/env -i container=unshare PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --unit=basic.target
"""


class System:
    """A booted system. share: a folder that it has in common with this one."""

    def __init__(self, share: Path) -> None:
        self.share = share
        (share / "place").mkdir()
        words = ["unshare", "--pid", "--fork", "--mount", "--uts", "--ipc", "--cgroup", "--kill-child"]
        env = {
            "PATH": os.environ["PATH"],
            "PLACE": str(share / "place"),
            "SHARE": str(share),
            "MASKED": " ".join(MASKED),
        }
        with (share / "boot.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*words, "bash", "-c", BOOT], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.first = self._find()

    def _find(self) -> int:
        """Our number of its process 1, once it answers."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for _ in range(600):
            if self._process.poll() is not None:
                break
            words = children.read_text().split()
            if words and Path(f"/proc/{words[0]}/root/run/systemd/private").exists():
                return int(words[0])
            time.sleep(0.1)
        raise RuntimeError(
            (self.share / "boot.log").read_text()[-500:] or "systemd does not start in namespaces here"
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        root = f"/proc/{self.first}/root"
        enter = ["nsenter", "-t", str(self.first), "-m", "-p", "-u", "-i", f"--root={root}", f"--wd={root}/"]
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]
        return subprocess.run([*enter, *clean, *words], capture_output=True, text=True, check=False)

    def agent(self, *words: str) -> tuple[int, dict[str, Any]]:
        done = self.run(PYTHON, "-I", str(self.share / "agent.pyz"), *words, "--root", "/opt/imago")
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout.splitlines()[-1])

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def system(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    if not SYSTEMD.exists() or os.geteuid() != 0 or shutil.which("nsenter") is None:
        pytest.skip("needs systemd, root and namespaces")
    version = subprocess.run(
        [PYTHON, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True, check=False
    )
    if version.stdout.strip() != str(sys.version_info[:2]):
        pytest.skip("the system's Python is another one than the wheels here are for")
    share = tmp_path_factory.mktemp("share")
    download_wheels(share / "wheels", wheel)
    write_agent(share / "agent.pyz")
    try:
        made = System(share)
    except RuntimeError as error:
        pytest.skip(str(error))
    yield made
    made.close()


def test_the_story_under_systemd(system: System) -> None:
    web, share = free_port(), system.share
    names = {}
    for number, name in enumerate(("a", "b", "broken", "c")):
        source = "/no/such.mp4" if name == "broken" else "synthetic"
        names[name] = bundle(share / f"{name}.imago", web, seed=number, source=source, records=True)

    def up(name: str, *more: str) -> tuple[int, dict[str, Any]]:
        return system.agent(
            "up", "--bundle", str(share / f"{name}.imago"), "--wheels", str(share / "wheels"), *more
        )

    code, said = up("a", "--timeout", "300")
    assert (code, said.get("changed")) == (0, True), said
    owner = system.run("stat", "-c", "%U", "/opt/imago/state/records", "/opt/imago/current").stdout.split()
    assert owner == ["imago", "root"]
    assert "imago" in system.run("ps", "-o", "user=", "-C", "python").stdout

    code, said = up("b", "--timeout", "300")
    assert (code, said["changed"]) == (0, True), said
    second = said["release"]
    code, said = up("b", "--timeout", "300")
    assert (code, said["changed"]) == (0, False), said

    code, said = up("broken", "--timeout", "40")
    assert code == 2 and f"{second} runs again" in said["text"] and "no such source" in said["text"]
    code, said = system.agent("status")
    assert said["current"]["release"] == second and said["health"]["status"] == 200
    assert said["service"] == "systemd" and said["running"]

    # The process that checks is gone: whatever systemd starts next is what had been checked.
    manifest = {"release": "x", "back": second, "pid": 999999, "ticks": 1, "boot": ""}
    pending = Path(f"/proc/{system.first}/root/opt/imago/pending.json")
    first = said["previous"]["release"]
    pending.write_text(json.dumps(manifest))
    system.run("ln", "-sfn", f"releases/{first}", "/opt/imago/current")
    main = int(system.run("systemctl", "show", "imago", "-p", "MainPID", "--value").stdout)
    system.run("kill", f"-{signal.SIGKILL.value}", str(main))
    code, said = system.agent("check", "--timeout", "300")
    assert (code, said["well"]) == (0, True), said
    assert system.agent("status")[1]["current"]["release"] == second
    assert not pending.exists()
