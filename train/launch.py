"""``imago train --devices N``: start the processes of one machine, watch them, and end them together.

They get torchrun's environment variables, so ``torchrun … -m imago.cli.main train …`` works as well; on one
machine they meet through a file in a private folder, and no port is opened to the network. No torch here.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from imago.edge_runtime.errors import ImagoError, InputError
from imago.edge_runtime.messages import tr

RANK, WORLD, LOCAL_RANK, LOCAL_WORLD = "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"
RENDEZVOUS = "IMAGO_RENDEZVOUS"  # set by this launcher only
GRACE_S = 20.0  # to save and to leave, after one process has ended badly or the user has asked
MOST = 1024
SIOCGIFADDR = 0x8915  # Linux: an interface's IPv4 address


class WorkersError(ImagoError):
    """A process of a training on several ended before its time; the run can go on (EX_TEMPFAIL)."""

    exit_code = 75


@dataclass(frozen=True, slots=True)
class Launch:
    """How many processes train together. devices: per machine. nodes: machines; node_rank: which one this is;
    rendezvous: ``HOST:PORT`` of the first machine, where all meet (needed with more than one)."""

    devices: int = 1
    nodes: int = 1
    node_rank: int = 0
    rendezvous: str = ""

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("devices", self.devices, 1, MOST),
            ("nodes", self.nodes, 1, MOST),
            ("node-rank", self.node_rank, 0, self.nodes - 1),
        ):
            if not low <= value <= high:
                raise InputError(
                    "--{name} is {value}; expected {low} to {high}",
                    name=name,
                    value=value,
                    low=low,
                    high=high,
                )
        if self.nodes > 1 and not re.fullmatch(r"[\w.:\-\[\]]+:\d{1,5}", self.rendezvous):
            raise InputError(
                "--nodes {nodes} needs --rendezvous HOST:PORT, the first machine and a free port on it, "
                "such as 192.168.1.10:29500",
                nodes=self.nodes,
            )

    @property
    def world(self) -> int:
        """Processes in all."""
        return self.devices * self.nodes


def is_worker() -> bool:
    """Whether this process was started by a launcher (this one or torchrun) as one of several."""
    env = os.environ
    named = RENDEZVOUS in env or "MASTER_ADDR" in env
    return named and all(name in env for name in (RANK, WORLD, LOCAL_RANK)) and int(env[WORLD]) > 1


def hidden() -> bool:
    """Whether this launcher watches over this process, and will say what went wrong."""
    return RENDEZVOUS in os.environ


def run_workers(launch: Launch, arguments: Sequence[str], folder: Path) -> int:
    """Run ``imago train arguments`` in ``launch.devices`` processes of this machine; the exit code.

    The first process speaks; the others' last words are kept for the error message. When one ends badly the
    others are ended too. Raises WorkersError where a process was lost.
    """
    with tempfile.TemporaryDirectory(prefix="imago-team-") as name, _Workers(launch, Path(name)) as workers:
        return workers.watch(arguments, folder)


class _Workers:
    def __init__(self, launch: Launch, private: Path) -> None:
        self.launch, self.private = launch, private
        self.processes: list[subprocess.Popen[bytes]] = []
        self.ended: queue.Queue[int] = queue.Queue()
        self._asked = 0

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()

    def watch(self, arguments: Sequence[str], folder: Path) -> int:
        """Start all, wait for all."""
        with _on_signals(self._ask):
            for local in range(self.launch.devices):
                self._start(local, arguments)
            left = self.launch.devices
            while left:
                first = self.ended.get()
                left -= 1
                if self.processes[first].returncode != 0:
                    self._end_others(0.0 if first == 0 and self._has_spoken() else GRACE_S)
                    return self._verdict(folder, first)
        return 0

    def _has_spoken(self) -> bool:
        """Whether the first process ended with an error of its own, which it has told."""
        code = self.processes[0].returncode
        return code is not None and code > 0 and code != WorkersError.exit_code

    def _start(self, local: int, arguments: Sequence[str]) -> None:
        launch = self.launch
        env = {**os.environ, **self._meeting()}
        env[RANK] = str(launch.node_rank * launch.devices + local)
        env[WORLD], env[LOCAL_RANK], env[LOCAL_WORLD] = str(launch.world), str(local), str(launch.devices)
        command = [sys.executable, "-m", "imago.cli.main", "train", *arguments]
        words = None if local == 0 else self._words(local).open("wb")
        process = subprocess.Popen(  # noqa: S603 - our own program, with the user's own arguments
            command, env=env, stdin=subprocess.PIPE, stdout=words, stderr=words, start_new_session=True
        )
        if words is not None:
            words.close()
        self.processes.append(process)
        threading.Thread(target=self._wait, args=(local, process), daemon=True).start()

    def _meeting(self) -> dict[str, str]:
        if self.launch.nodes == 1:
            local = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
            return {RENDEZVOUS: (self.private / "meeting").as_uri(), **local}
        host, port = self.launch.rendezvous.rsplit(":", 1)
        way = interface_towards(host.strip("[]"), int(port))
        env = {RENDEZVOUS: "env://", "MASTER_ADDR": host.strip("[]"), "MASTER_PORT": port}
        if way:
            env["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", way)
        return env

    def _wait(self, local: int, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self.ended.put(local)

    def _words(self, local: int) -> Path:
        return self.private / f"worker-{local}.txt"

    def _ask(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-C: ask all to save and to end; the second time, end them."""
        self._asked += 1
        for process in self.processes:
            if process.poll() is None:
                process.terminate() if self._asked == 1 else process.kill()

    def _end_others(self, grace: float) -> None:
        """They notice by themselves that one is gone; who does not within ``grace`` seconds, is ended."""
        until = time.monotonic() + grace
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=max(0.0, until - time.monotonic()))
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()

    def _verdict(self, folder: Path, first: int) -> int:
        """What to say: the first process has spoken for itself, unless it only lost the others."""
        codes = [process.returncode for process in self.processes]
        if self._has_spoken():
            return codes[0]
        if self._asked:  # before there was anything to save
            raise KeyboardInterrupt
        in_order = (first, *range(len(codes)))  # the others may break when the first one is gone
        guilty = next((k for k in in_order if codes[k] not in (0, WorkersError.exit_code)), None)
        resumable = (folder / "run.json").exists()
        if guilty is None:
            raise WorkersError(
                "lost contact with the other machines: one of them ended, or the network broke; {remedy}",
                remedy=_Remedy(folder, resumable),
            )
        raise WorkersError(
            "process {number} of {count} on this machine {fate}; {remedy}",
            number=guilty + 1,
            count=len(codes),
            fate=_Fate(codes[guilty], self._last_words(guilty)),
            remedy=_Remedy(folder, resumable),
        )

    def _last_words(self, local: int) -> str:
        try:
            lines = self._words(local).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")


@dataclass(frozen=True, slots=True)
class _Remedy:
    """What to do now; translated when it is shown."""

    folder: Path
    resumable: bool

    def __str__(self) -> str:
        if self.resumable:
            return tr("nothing is lost, go on with: imago train --resume {folder}", folder=self.folder)
        return tr("start it again")


@dataclass(frozen=True, slots=True)
class _Fate:
    """How a process ended; translated when it is shown."""

    code: int
    words: str

    def __str__(self) -> str:
        if self.code == -signal.SIGABRT and self.words:
            return tr("gave up ({words})", words=self.words)
        if self.code < 0:
            return tr("was killed by signal {number}", number=-self.code)
        return tr("ended with exit code {code} ({words})", code=self.code, words=self.words or "-")


@contextlib.contextmanager
def _on_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def end_with_launcher() -> None:
    """In a worker: when the launcher is gone, even killed, save and end as after Ctrl-C."""
    if not hidden():
        return

    def listen() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=listen, daemon=True).start()


def interface_towards(host: str, port: int) -> str:
    """Name of the network interface that leads to ``host``; "" where that cannot be told.

    gloo otherwise listens where the host's own name points: on Debian that is 127.0.1.1.
    """
    if sys.platform != "linux":
        return ""
    import fcntl

    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, port))  # a datagram socket: nothing is sent
            own = probe.getsockname()[0]
            for _, name in socket.if_nameindex():
                request = struct.pack("256s", name.encode()[:15])
                with contextlib.suppress(OSError):
                    answer = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, request)
                    if socket.inet_ntoa(answer[20:24]) == own or (own.startswith("127.") and name == "lo"):
                        return name
    except OSError:
        pass
    return ""
