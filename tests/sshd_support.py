"""Real sshd processes on this computer, each a "board" with a folder of its own; neither systemd nor root."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

import pytest

from broker import free_port

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100
Subsystem sftp internal-sftp
"""


def need_sshd() -> str:
    """Path of sshd; skips where it is not installed, fails in CI."""
    if SSHD is None or shutil.which("ssh") is None:
        if os.environ.get("CI"):
            pytest.fail("openssh-server is not installed")
        pytest.skip("openssh-server is not installed")
    return SSHD


class SshBoard:
    """One sshd. folder: its keys and known_hosts; root: where imago goes."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.folder, self.root = name, folder / name, folder / name / "opt"
        self.program, self.port, self.page = need_sshd(), free_port(), free_port()
        self.root.mkdir(parents=True)
        for key in ("host", "user"):
            path = self.folder / key
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
        public = (self.folder / "host.pub").read_text().split()[:2]
        (self.folder / "known").write_text(f"[127.0.0.1]:{self.port} {' '.join(public)}\n")
        (self.folder / "sshd.conf").write_text(CONFIG.format(port=self.port, folder=self.folder))
        self._process: subprocess.Popen[bytes] | None = None

    def facts(self) -> dict[str, object]:
        """Its line in an inventory."""
        options = {
            "UserKnownHostsFile": self.folder / "known",
            "IdentitiesOnly": "yes",
            "GlobalKnownHostsFile": os.devnull,
        }
        return {
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": getpass.getuser(),
            "ansible_ssh_private_key_file": str(self.folder / "user"),
            "ansible_ssh_common_args": " ".join(f"-o {key}={value}" for key, value in options.items()),
            "ansible_remote_tmp": str(self.folder / "tmp"),
            "imago_root": str(self.root),
            "imago_page": f"http://127.0.0.1:{self.page}",
        }

    def __enter__(self) -> SshBoard:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        with (self.folder / "sshd.log").open("wb") as log:
            self._process = subprocess.Popen(
                [self.program, "-D", "-e", "-f", self.folder / "sshd.conf"],
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
        until = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            assert self._process.poll() is None, (self.folder / "sshd.log").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """No ssh any more; what runs on the board goes on."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
