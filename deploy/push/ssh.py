"""The user's own ssh, as a program: its configuration, agent, jump hosts and host-key checks apply.

One connection is opened and shared by all calls (ControlMaster; not on Windows, whose ssh has none). Words
are passed as lists; only the remote shell gets a string, quoted by ``shlex``.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

from imago.edge_runtime.errors import DeployError, InputError, MissingDependency

HOST = re.compile(r"(?:[A-Za-z0-9_][\w.+-]{0,63}@)?[A-Za-z0-9_\[][\w.:%\[\]-]{0,253}")
FAILED = 255  # ssh's own exit code for its own failures
MAX_ERRORS = 20_000  # characters of standard error that are kept


@dataclass(frozen=True, slots=True)
class Target:
    """Where to. host: ``user@host`` or a name from ~/.ssh/config. config: another file instead of that.
    options: more of ssh's own, as ``-o`` takes them."""

    host: str
    port: int | None = None
    identity: Path | None = None
    config: Path | None = None
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not HOST.fullmatch(self.host):
            raise InputError(
                "'{host}' is no board's address; expected user@host, for example pi@raspberrypi.local",
                host=self.host[:80],
            )
        if self.port is not None and not 0 < self.port < 65536:
            raise InputError("{port} is no port; expected 1 to 65535", port=self.port)
        if self.identity is not None and not self.identity.expanduser().is_file():
            raise InputError("the key {path} is not there", path=self.identity)


@dataclass
class Call:
    """One command that runs on the board. out: what it says; into: what it reads."""

    process: subprocess.Popen[bytes]
    errors: list[str] = field(default_factory=list)
    reader: threading.Thread | None = None

    @property
    def out(self) -> IO[bytes]:
        """Its standard output."""
        assert self.process.stdout is not None  # noqa: S101  opened with PIPE
        return self.process.stdout

    @property
    def into(self) -> IO[bytes]:
        """Its standard input."""
        assert self.process.stdin is not None  # noqa: S101  opened with PIPE
        return self.process.stdin

    def end(self) -> int:
        """Wait; the remote exit code, or ``FAILED``."""
        with contextlib.suppress(OSError):
            self.into.close()
        code = self.process.wait()
        if self.reader is not None:
            self.reader.join(5)
        self.out.close()
        return code

    @property
    def said(self) -> str:
        """What came on standard error."""
        return "".join(self.errors)


class Ssh:
    """A connection to ``target``; use it as a context. Nothing is sent before the first call."""

    def __init__(self, target: Target) -> None:
        self.target = target
        program = shutil.which("ssh")
        if program is None:
            raise MissingDependency("ssh is not installed; on Debian: sudo apt install openssh-client")
        self._program = program
        # /tmp, since a socket's path may have some 100 characters and the user's own may be long
        self._folder = None if sys.platform == "win32" else tempfile.mkdtemp(prefix="imago-")

    def __enter__(self) -> Ssh:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the shared connection."""
        if self._folder is None:
            return
        subprocess.run(  # noqa: S603  argument list, no shell
            [*self._words(), "-O", "exit", "--", self.target.host],
            stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=30,
        )  # fmt: skip
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None

    @contextlib.contextmanager
    def call(self, command: Sequence[str]) -> Iterator[Call]:
        """Run ``command`` on the board. Passwords and new host keys are asked for on the terminal by ssh."""
        process = subprocess.Popen(  # noqa: S603  argument list, no shell
            [*self._words(), "--", self.target.host, shlex.join(command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},  # its messages are recognised below
        )
        call = Call(process)
        call.reader = threading.Thread(target=self._collect, args=(call,), daemon=True)
        call.reader.start()
        try:
            yield call
        finally:
            if process.poll() is None:
                process.terminate()
            call.end()

    def _words(self) -> list[str]:
        target = self.target
        words = [self._program, "-T", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=10",
                 "-o", "ServerAliveCountMax=3"]  # fmt: skip
        if self._folder is not None:
            words += ["-o", "ControlMaster=auto", "-o", f"ControlPath={self._folder}/s",
                      "-o", "ControlPersist=120"]  # fmt: skip
        if target.config is not None:
            words += ["-F", str(target.config)]
        if target.port is not None:
            words += ["-p", str(target.port)]
        if target.identity is not None:
            words += ["-i", str(target.identity.expanduser()), "-o", "IdentitiesOnly=yes"]
        for option in target.options:
            words += ["-o", option]
        return words

    @staticmethod
    def _collect(call: Call) -> None:
        assert call.process.stderr is not None  # noqa: S101  opened with PIPE
        with call.process.stderr as stream:
            kept = 0
            for line in stream:
                if kept < MAX_ERRORS:
                    kept += len(line)
                    call.errors.append(line.decode("utf-8", "replace"))


class LineBroken(DeployError):
    """A connection that was there has ended; trying again is worth it."""


def failure(host: str, said: str) -> DeployError:
    """One clear line for a connection that ssh could not make, or that broke. said: ssh's own words."""
    for pattern, template in REASONS:
        found = re.search(pattern, said)
        if found:
            return DeployError(template, host=host, detail=found.group(found.lastindex or 0).strip())
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return LineBroken(
        "the connection to {host} broke ({reason}); the board goes on with what it has, push again",
        host=host,
        reason=lines[-1][:200] if lines else "ssh",
    )


REASONS: tuple[tuple[str, str], ...] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "{host} shows another host key than before: another machine answers, or its card was written anew; "
        "if that is so: ssh-keygen -R HOST, then connect once by hand",
    ),
    (
        r"Host key verification failed",
        "the host key of {host} is not known, and nobody said that it is right; connect once by hand: "
        "ssh {host}",
    ),
    (
        r"Too many authentication failures|Permission denied \(([^)]*)\)",
        "{host} refused the key or the password ({detail}); try by hand: ssh {host}",
    ),
    (r"Could not resolve hostname", "there is no {host} in this network; is the board on, the name right?"),
    (
        r"Connection refused",
        "{host} is there, but takes no ssh connections; switch ssh on: sudo raspi-config",
    ),
    (
        r"Connection timed out|No route to host|Network is unreachable|Operation timed out",
        "{host} does not answer; is the board on, and in the same network?",
    ),
    (r"UNPROTECTED PRIVATE KEY FILE", "others can read your key: chmod 600 its file ({host} was not asked)"),
    (
        r"Bad owner or permissions on (\S+)",
        "ssh refuses {detail}: it must be yours alone ({host} was not asked)",
    ),
)
