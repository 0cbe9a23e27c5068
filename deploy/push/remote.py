"""Calling the agent on the board: run by its own Python from memory, sent only when it is not there yet."""

from __future__ import annotations

import contextlib
import getpass
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from imago.deploy.agent import agent_bytes, agent_digest
from imago.deploy.push.ssh import FAILED, Call, Ssh, failure
from imago.edge_runtime.errors import DeployError, GateError, ImagoError
from imago.edge_runtime.messages import language, tr
from imago.edge_runtime.sinks import printable

# Runs on any Python 3: says what is in the way, asks for the agent where the board's is another one, and
# turns into it. From memory (memfd), so that nothing is written before the doctor has spoken.
LOADER = """\
import hashlib, os, runpy, sys
root, digest, size, systemd = sys.argv[1:5]
def answer(word):
    sys.stdout.write(word + "\\n"); sys.stdout.flush()
if sys.version_info < (3, 11):
    answer("old %d.%d.%d" % sys.version_info[:3]); sys.exit(3)
place = root
while not os.path.exists(place):
    place = os.path.dirname(place)
managed = systemd == "1" and os.path.isdir("/run/systemd/system")
if os.geteuid() and (managed or not os.access(place, os.W_OK)):
    answer("sudo"); sys.exit(3)
try:
    with open(os.path.join(root, "agent.pyz"), "rb") as file: data = file.read()
except OSError:
    data = b""
if hashlib.sha256(data).hexdigest() != digest:
    answer("send")
    data = sys.stdin.buffer.read(int(size))
    if hashlib.sha256(data).hexdigest() != digest: sys.exit(3)
else:
    answer("have")
memory = os.memfd_create("agent.pyz")
with open(memory, "wb", closefd=False) as file: file.write(data)
sys.argv = ["/proc/self/fd/%d" % memory] + sys.argv[5:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
MAX_LINE = 4_000_000
OK, NO = 0, 1


@dataclass
class Answer:
    """What a command said. result: its last word; code: its exit code."""

    code: int
    result: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)


class Remote:
    """The agent on one board. root: its folder there. systemd: False: the agent supervises by itself.

    say: is told steps, for people. ask_password: for sudo, where the board wants one.
    """

    def __init__(
        self,
        ssh: Ssh,
        root: str,
        *,
        systemd: bool = True,
        say: Callable[[str], None] = lambda text: None,
        ask_password: Callable[[], str] | None = None,
    ) -> None:
        self.ssh, self.root, self.systemd, self.say = ssh, root, systemd, say
        self._ask = ask_password or _ask_on_terminal
        self._sudo: tuple[str, ...] = ()
        self._password: str | None = None
        self.agent_sent = 0

    def command(
        self,
        command: str,
        *flags: str,
        payload: Iterable[bytes] = (),
        raw: Callable[[Mapping[str, Any], IO[bytes]], None] | None = None,
    ) -> Answer:
        """Run one of the agent's commands. payload: for its standard input. raw: is given the event
        ``raw`` and reads what follows it, bytes instead of lines.

        Raises DeployError (or GateError) where the board says why not, or the connection breaks.
        """
        with self._started(command, flags) as call:
            self._send(call, payload)
            answer = Answer(FAILED)
            for event in _events(call.out, self.ssh.target.host):
                answer.events.append(event)
                kind = event.get("event")
                if kind == "step":
                    self.say(str(event.get("text", ""))[:500])
                elif kind in ("result", "plan", "error", "received"):
                    answer.result = event
                elif kind == "raw" and raw is not None:
                    answer.result = event
                    raw(event, call.out)
            answer.code = call.end()
            return self._checked(answer, call)

    def _checked(self, answer: Answer, call: Call) -> Answer:
        if answer.result.get("event") == "error":
            reason = str(answer.result.get("text", ""))[:1000]
            raise (GateError if answer.code == NO else DeployError)("{reason}", reason=printable(reason))
        if answer.code not in (OK, NO):
            raise self._no_answer(answer.code, call.said)
        return answer

    @contextlib.contextmanager
    def _started(self, command: str, flags: Sequence[str]) -> Iterator[Call]:
        """The agent, at the point where it reads its payload."""
        for _ in range(3):
            with self.ssh.call(self._words(command, flags)) as call:
                if self._password is not None:
                    _write(call, self._password.encode() + b"\n")
                word = call.out.readline(200).decode("ascii", "replace").strip()
                if word == "send":
                    self.agent_sent += len(agent_bytes())
                    _write(call, agent_bytes())
                if word in ("send", "have"):
                    yield call
                    return
                code = call.end()
                self._raise_or_sudo(word, code, call.said)
        raise self._no_sudo()

    def _words(self, command: str, flags: Sequence[str]) -> list[str]:
        size, systemd = str(len(agent_bytes())), "1" if self.systemd else "0"
        more = [] if self.systemd else ["--no-systemd"]
        return [
            *self._sudo, "env", f"IMAGO_LANG={language()}", "python3", "-I", "-c", LOADER,
            self.root, agent_digest(), size, systemd, command, "--root", self.root, *more, *flags,
        ]  # fmt: skip

    def _raise_or_sudo(self, word: str, code: int, said: str) -> None:
        """After an answer that is no agent: raise what is wrong, or prepare the next try."""
        host = self.ssh.target.host
        if word == "sudo" and not self._sudo:
            self._sudo = ("sudo", "-n", "--")
            return
        if word.startswith("old "):
            raise DeployError(
                "{host} has Python {version}, imago needs 3.11 or newer: write a current 64-bit image of "
                "Raspberry Pi OS (bookworm or trixie) to its card",
                host=host,
                version=word[4:][:20],
            )
        if code == FAILED:
            raise failure(host, said)
        if re.search(r"sudo:.*password is required|sudo:.*a terminal is required", said):
            if self._password is not None:
                raise self._no_sudo()
            self._password = self._ask()
            self._sudo = ("sudo", "-k", "-S", "-p", "", "--")
            return
        raise self._no_answer(code, said)

    def _no_answer(self, code: int, said: str) -> ImagoError:
        host = self.ssh.target.host
        if code == FAILED:
            return failure(host, said)
        if "sudo" in said:
            return self._no_sudo()
        if code == 127 or "not found" in said:
            return DeployError("{host} has no python3; on the board: sudo apt install python3", host=host)
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        reason = printable(lines[-1][:300]) if lines else tr("exit code {code}", code=code)
        return DeployError("the agent on {host} failed: {reason}", host=host, reason=reason)

    def _no_sudo(self) -> DeployError:
        return DeployError(
            "no administrator's rights on {host}: sudo refused; log in as a user who may use it, or as root",
            host=self.ssh.target.host,
        )

    def _send(self, call: Call, payload: Iterable[bytes]) -> None:
        for piece in payload:
            if not _write(call, piece):
                break
        with contextlib.suppress(OSError):
            call.into.close()


def _write(call: Call, data: bytes) -> bool:
    """False where nobody reads any more; why, the other end says, or ssh."""
    try:
        call.into.write(data)
        call.into.flush()
    except OSError:
        return False
    return True


def _events(stream: IO[bytes], host: str) -> Iterator[dict[str, Any]]:
    """The lines that come, as far as they are ours; a board may have a talkative profile."""
    while line := stream.readline(MAX_LINE):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def _ask_on_terminal() -> str:
    if not sys.stdin.isatty():
        raise DeployError(
            "sudo on the board asks for a password; run this in a terminal, allow sudo without one, or log "
            "in as root"
        )
    return getpass.getpass(tr("sudo password on the board: "))
