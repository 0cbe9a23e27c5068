"""A board to push to: this machine's own sshd on a free port, a folder as its /opt/imago, no systemd."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from imago.deploy.board.layout import Root
from imago.deploy.board.wheelhouse import debs_in, wheels_in
from imago.deploy.bundling import BundleOptions, write_bundle
from imago.deploy.push.remote import Remote
from imago.deploy.push.session import Pushed, PushOptions, push
from imago.deploy.push.ssh import Ssh, Target
from imago.edge_runtime.bundle.settings import RunSettings

import onnx_models
from support import ROOT, imago

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/sbin:/bin")


def need_sshd() -> str:
    """Path of sshd; skips where it is missing, fails in CI."""
    if SSHD and shutil.which("ssh") and sys.platform == "linux":
        return SSHD
    message = "no OpenSSH server here: sudo apt install openssh-server openssh-client"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Board:
    """folder: keys and configuration; root: what the agent fills; environment: of all that runs on it."""

    folder: Path
    port: int = field(default_factory=free_port)
    web: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root = self.folder / "opt"
        self.config = self.folder / "ssh_config"
        self._sshd: subprocess.Popen[bytes] | None = None
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("host", "key", "stranger"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)], check=True
            )
        shutil.copy(self.folder / "key.pub", self.folder / "authorized")
        self.know("host")
        self._python()
        self.write_config()

    def _python(self) -> None:
        """The python3 that the board finds: the one that the wheels are for."""
        (self.folder / "bin").mkdir()
        (self.folder / "bin" / "python3").symlink_to(Path(getattr(sys, "_base_executable", sys.executable)))

    def know(self, key: str) -> None:
        """Let the PC expect this host key."""
        public = (self.folder / f"{key}.pub").read_text().split()[:2]
        line = f"board {' '.join(public)}\n"
        (self.folder / "known_hosts").write_text(line)

    def write_config(self, **more: str) -> None:
        """The PC's ssh configuration: the board is called ``board``."""
        options = {
            "HostName": "127.0.0.1", "Port": str(self.port), "User": getpass.getuser(),
            "IdentityFile": str(self.folder / "key"), "IdentitiesOnly": "yes", "IdentityAgent": "none",
            "UserKnownHostsFile": str(self.folder / "known_hosts"), "GlobalKnownHostsFile": "/dev/null",
            "HostKeyAlias": "board", "BatchMode": "yes", **more,
        }  # fmt: skip
        lines = "".join(f"  {key} {value}\n" for key, value in options.items())
        self.config.write_text(f"Host board\n{lines}")

    def start(self, *more: str) -> None:
        """Start sshd."""
        path = f"{self.folder / 'bin'}:/usr/bin:/bin:/usr/sbin:/sbin"
        shell = self.folder / "shell"  # whatever the user's own .bashrc says about PATH
        exports = "".join(f"export {name}='{value}'\n" for name, value in self.environment.items())
        shell.write_text(f'#!/bin/sh\nexport PATH={path}\n{exports}exec sh -c "$SSH_ORIGINAL_COMMAND"\n')
        shell.chmod(0o755)
        (self.folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder / 'host'}\n"
            f"AuthorizedKeysFile {self.folder / 'authorized'}\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
            f"PidFile {self.folder / 'sshd.pid'}\nForceCommand {shell}\nMaxStartups 100\n" + "\n".join(more)
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        log = (self.folder / "sshd.log").open("ab")
        with log:
            self._sshd = subprocess.Popen(
                [need_sshd(), "-D", "-e", "-f", str(self.folder / "sshd_config")], stderr=log, stdout=log
            )
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise AssertionError((self.folder / "sshd.log").read_text())

    def stop(self) -> None:
        """Stop sshd; what it started for connections goes on."""
        if self._sshd is not None:
            self._sshd.terminate()
            self._sshd.wait()
            self._sshd = None

    @contextlib.contextmanager
    def remote(self, **more: Any) -> Iterator[Remote]:
        """The agent on it."""
        with Ssh(Target("board", config=self.config)) as ssh:
            yield Remote(ssh, str(self.root), systemd=False, **more)

    def deploy(
        self, *words: str, host: str = "board", timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """``imago deploy`` as a user calls it."""
        own = ("--ssh-config", str(self.config), "--root", str(self.root), "--no-systemd")
        return imago("deploy", host, *words, *own, timeout=timeout)

    def push(self, path: Path, kit: Path, say: Callable[[str], None] = lambda text: None) -> Pushed:
        """``imago deploy`` in this process; say: is told every step."""
        with self.remote(say=say) as remote:
            return push(remote, path, PushOptions(wheels_in(kit), debs_in(kit), timeout_s=300))

    def settled(self, timeout: float = 300) -> dict[str, Any]:
        """The status, once nothing is at work any more and frames come through."""
        code, said = self.agent("check", "--timeout", str(timeout))
        with Root(self.root).locked(timeout):
            code, said = self.agent("check", "--timeout", str(timeout))
        assert (code, said.get("well")) == (0, True), said
        return self.agent("status")[1]

    def agent(self, *words: str) -> tuple[int, dict[str, Any]]:
        """Call the agent that the board keeps; its exit code and last word."""
        done = subprocess.run(
            [str(self.folder / "bin" / "python3"), "-I", str(self.root / "agent.pyz"), *words,
             "--root", str(self.root), "--no-systemd"],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout.splitlines()[-1])

    def pids(self) -> list[int]:
        """Everything that runs for this board, but sshd."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (path / "cmdline").read_bytes()
                if str(self.root).encode() in words and int(path.name) != os.getpid():
                    found.append(int(path.name))
        return found

    def wait_for(self, command: str, timeout: float = 60) -> bool:
        """Whether the agent begins with this command in time."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            for pid in self.pids():
                with contextlib.suppress(OSError):
                    if command.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                        return True
            time.sleep(0.002)
        return False

    def power_off(self) -> None:
        """What a power cut does to processes: all gone at once, without a word."""
        for _ in range(20):
            pids = self.pids()
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not pids:
                return
            time.sleep(0.05)

    def power_on(self, timeout: float = 300) -> dict[str, Any]:
        """What a boot does (cron's @reboot calls repair); the status once frames come through."""
        code, said = self.agent("repair")
        assert code == 0, said
        code, said = self.agent("check", "--timeout", str(timeout))
        assert (code, said.get("well")) == (0, True), said
        return self.agent("status")[1]

    def close(self) -> None:
        """End everything."""
        self.stop()
        self.power_off()


class Wire:
    """A line to a port that counts bytes, and can be cut: at once, or after so many bytes to the board."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.up = self.down = 0
        self.cut_after: int | None = None
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._pairs.append((near, far))
                for source, sink, up in ((near, far, True), (far, near, False)):
                    threading.Thread(target=self._pump, args=(source, sink, up), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(4096):
                if up:
                    self.up += len(piece)
                    if self.cut_after is not None and self.up >= self.cut_after:
                        self.cut_after = None
                        self.cut()
                        return
                else:
                    self.down += len(piece)
                sink.sendall(piece)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """End all connections on it; new ones are possible."""
        pairs, self._pairs = self._pairs, []
        for end in (end for pair in pairs for end in pair):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        """Cut, and accept nothing more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()


def download_wheels(folder: Path, wheel: Path) -> Path:
    """imago's wheel and all that its base and signatures need, for this Python."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "pip", "download", "-q", "-d", str(folder), f"{wheel}[sign]"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        if os.environ.get("CI"):
            pytest.fail(done.stderr)
        pytest.skip(f"pip could not fetch the base packages (no internet?): {done.stderr[-200:]}")
    if not list(folder.glob("imago_edge*.whl")):
        shutil.copy(wheel, folder)
    return folder


def bundle(
    path: Path,
    web: int,
    *,
    seed: int = 0,
    source: str = "synthetic",
    models: Sequence[Path] = (),
    host: str = "localhost",
    realtime: bool = True,
    sign: Path | None = None,
    features: tuple[str, ...] = (),
    **more: Any,
) -> str:
    """Write a bundle with a small model; its release's name without the environment."""
    model = path.parent / f"m{seed}.onnx"
    if not models:
        onnx_models.lenet(model, seed=seed)
    settings = RunSettings(
        source=source, realtime=realtime, max_fps=5, motion="off", web=f"{host}:{web}", **more
    )
    options = BundleOptions(run=settings, sign=sign, features=features)
    return write_bundle(models or [model], path, options, version="0.1.0").release


__all__ = ["ROOT", "Board", "Wire", "bundle", "download_wheels", "free_port", "need_sshd"]
