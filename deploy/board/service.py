"""Keeping the program running: by systemd, or by a supervisor of our own where there is none."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from imago.deploy.board import process
from imago.deploy.board.layout import Root, read_json, sync
from imago.deploy.board.unit import NAME, USER, unit_text
from imago.edge_runtime.errors import DeployError
from imago.edge_runtime.files import write_text

UNITS = Path("/etc/systemd/system")
LOG_BYTES = 1_000_000
STARTED = re.compile(r"--- (\d+\.\d+) started ")  # what the supervisor writes into the log


@dataclass(frozen=True, slots=True)
class State:
    """pid: of the program, 0 where it does not run. starts: how often it was started, as far as known."""

    running: bool
    pid: int = 0
    starts: int = 0
    text: str = ""


class Service(Protocol):
    """What a release needs of whoever keeps it running."""

    name: str

    def prepare(self) -> bool:
        """Put in place what is missing; whether anything was."""
        ...

    def restart(self) -> None:
        """Let the current release run; returns when the old process is gone."""
        ...

    def stop(self) -> None:
        """Let nothing run, now and after a reboot."""
        ...

    def pause(self) -> None:
        """Let nothing run until ``restart``, or the next reboot."""
        ...

    def state(self) -> State:
        """How it is."""
        ...

    def logs(self, lines: int, since: float = 0.0) -> list[str]:
        """The newest lines of what it said; only of processes that were started after ``since``."""
        ...


def service(root: Root, *, systemd: bool | None = None) -> Service:
    """systemd's, where it runs and is not declined."""
    wanted = Path("/run/systemd/system").is_dir() if systemd is None else systemd
    return Systemd(root) if wanted else Plain(root)


class Systemd:
    """``imago.service``."""

    name = "systemd"

    def __init__(self, root: Root) -> None:
        self._root = root

    def prepare(self) -> bool:
        """See ``Service``."""
        made = self._user()
        path, text = UNITS / NAME, unit_text(self._root.path)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
            path.chmod(0o644)
            sync(UNITS)
            _systemctl("daemon-reload")
            made = True
        if _systemctl("is-enabled", NAME, check=False) != "enabled":
            _systemctl("enable", "--quiet", NAME)
            made = True
        return made

    def _user(self) -> bool:
        """The service's own user; it owns ``state`` and nothing else."""
        made = False
        try:
            facts = pwd.getpwnam(USER)
        except KeyError:
            shell = next((s for s in ("/usr/sbin/nologin", "/bin/false") if Path(s).exists()), "/bin/false")
            home = str(self._root / "state")
            _must("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", home,
                  "--shell", shell, USER)  # fmt: skip
            facts, made = pwd.getpwnam(USER), True
        state = self._root / "state"
        if state.stat().st_uid != facts.pw_uid:
            for path in (state, *state.rglob("*")):
                os.chown(path, facts.pw_uid, facts.pw_gid, follow_symlinks=False)
            made = True
        return made

    def restart(self) -> None:
        """See ``Service``."""
        _systemctl("reset-failed", NAME, check=False)
        _systemctl("stop", NAME, check=False)
        _systemctl("start", "--no-block", NAME)

    def stop(self) -> None:
        """See ``Service``."""
        _systemctl("disable", "--now", "--quiet", NAME, check=False)

    def pause(self) -> None:
        """See ``Service``."""
        _systemctl("stop", NAME)

    def state(self) -> State:
        """See ``Service``."""
        text = _systemctl(
            "show", NAME, "-p", "ActiveState,SubState,MainPID,NRestarts,StatusText", check=False
        )
        facts = dict(line.partition("=")[::2] for line in text.splitlines())
        pid, restarts = (int(facts.get(k) or 0) for k in ("MainPID", "NRestarts"))
        words = (
            f"{facts.get('ActiveState', '?')} ({facts.get('SubState', '?')}) {facts.get('StatusText', '')}"
        )
        return State(facts.get("ActiveState") == "active", pid, restarts, words.strip())

    def logs(self, lines: int, since: float = 0.0) -> list[str]:
        """See ``Service``."""
        words = ["journalctl", "--unit", NAME, "--lines", str(lines), "--no-pager", "--output", "short-iso"]
        words += [f"--since=@{int(since)}"] if since else []
        return _output(*words).splitlines()


class Plain:
    """A supervisor process (``supervise.py``) with a file that says which process it keeps."""

    name = "plain"

    def __init__(self, root: Root) -> None:
        self._root = root

    def prepare(self) -> bool:
        """See ``Service``."""
        return False

    def restart(self) -> None:
        """See ``Service``."""
        before = read_json(self._root / "run" / "service.json") or {}
        keeper = self._keeper()
        if keeper is None:
            self._start()
        else:
            os.kill(keeper, signal.SIGHUP)
        for _ in range(600):
            now = read_json(self._root / "run" / "service.json") or {}
            if now.get("pid") and now.get("starts") != before.get("starts") and self._keeper() is not None:
                return
            time.sleep(0.05)
        raise DeployError("the supervisor on the board does not answer; stop it there and push again")

    def stop(self) -> None:
        """See ``Service``."""
        keeper = self._keeper()
        if keeper is None:
            return
        os.kill(keeper, signal.SIGTERM)
        for _ in range(600):
            if self._keeper() is None:
                return
            time.sleep(0.05)

    def pause(self) -> None:
        """See ``Service``."""
        self.stop()

    def state(self) -> State:
        """See ``Service``."""
        facts = read_json(self._root / "run" / "service.json") or {}
        running = self._keeper() is not None and process.alive(facts)
        return State(running, facts.get("pid", 0) if running else 0, facts.get("starts", 0))

    def logs(self, lines: int, since: float = 0.0) -> list[str]:
        """See ``Service``."""
        found: list[str] = []
        for name in ("service.log.1", "service.log"):
            path = self._root / "run" / name
            if path.is_file():
                found += path.read_text(encoding="utf-8", errors="replace").splitlines()
        starts = [n for n, line in enumerate(found) if (m := STARTED.match(line)) and float(m[1]) >= since]
        return found[starts[0] :][-lines:] if starts else [] if since else found[-lines:]

    def _keeper(self) -> int | None:
        facts = read_json(self._root / "run" / "supervisor.json") or {}
        return int(facts["pid"]) if process.alive(facts) else None

    def _start(self) -> None:
        agent = self._root / "agent.pyz"
        words = [sys.executable, "-I", str(agent), "supervise", "--root", str(self._root.path)]
        with (self._root / "run" / "supervisor.log").open("wb") as log:
            subprocess.Popen(  # noqa: S603  argument list, no shell
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )


def _systemctl(*words: str, check: bool = True) -> str:
    return _must("systemctl", *words) if check else _output("systemctl", *words)


def _output(*words: str) -> str:
    return _run(words).stdout.strip()


def _must(*words: str) -> str:
    done = _run(words)
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip() or str(done.returncode)).splitlines()[-1]
        raise DeployError("{command} failed on the board: {reason}", command=" ".join(words), reason=reason)
    return done.stdout.strip()


def _run(words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    program = shutil.which(words[0], path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        raise DeployError("{name} is missing on the board", name=words[0])
    return subprocess.run(  # noqa: S603  argument list, no shell
        [program, *words[1:]],
        capture_output=True, text=True, errors="replace", check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": ""}, timeout=300,
    )  # fmt: skip
