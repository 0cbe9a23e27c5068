"""One push: plan, send what the board lacks, let it install, switch and check. May be cut and run again."""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from imago.deploy.push.remote import NO, Answer, Remote
from imago.deploy.push.ssh import LineBroken
from imago.edge_runtime.bundle.archive import sha256_of, verify
from imago.edge_runtime.bundle.manifest import Manifest
from imago.edge_runtime.bundle.minisign import SUFFIX
from imago.edge_runtime.errors import GateError, InputError
from imago.edge_runtime.messages import tr

PIECE = 1 << 17
TRIES = 3


@dataclass(frozen=True, slots=True)
class PushOptions:
    """wheels: name → file, for the board's environment. debs: Debian packages, of which the board takes what
    its system lacks. online: what the wheels lack comes from the net there. timeout_s: until frames must
    come. trust: a public key; from then on the board takes only bundles signed with it."""

    wheels: Mapping[str, Path] = field(default_factory=dict)
    debs: Mapping[str, Path] = field(default_factory=dict)
    online: bool = False
    timeout_s: float = 90.0
    trust: Path | None = None


@dataclass(frozen=True, slots=True)
class Pushed:
    """result: the agent's last word. doctor: its findings. sent: bytes of content that crossed the wire;
    reused: bytes that were on the board already."""

    result: Mapping[str, Any]
    doctor: Mapping[str, Any]
    sent: int
    reused: int


class Source:
    """Where the bytes of a SHA-256 come from: a member of the bundle, a wheel or a Debian package."""

    def __init__(self, bundle: Path, manifest: Manifest, options: PushOptions) -> None:
        self._bundle = bundle
        self._members = {m.sha256: name for name, m in manifest.members.items()}
        self.wheels, self.debs = _rows(options.wheels), _rows(options.debs)
        self.sizes = {m.sha256: m.size for m in manifest.members.values()}
        self.sizes |= {sha: size for _, sha, size in (*self.wheels, *self.debs)}
        files = {**options.wheels, **options.debs}
        self._files = {sha: files[name] for name, sha, _ in (*self.wheels, *self.debs)}

    def pieces(self, sha256: str, offset: int) -> Iterator[bytes]:
        """The bytes from ``offset`` on."""
        with self._open(sha256) as file:
            file.seek(offset)
            while piece := file.read(PIECE):
                yield piece

    @contextlib.contextmanager
    def _open(self, sha256: str) -> Iterator[BinaryIO]:
        if sha256 in self._members:
            with zipfile.ZipFile(self._bundle) as archive, archive.open(self._members[sha256]) as member:
                yield member  # type: ignore[misc]
        else:
            with self._files[sha256].open("rb") as file:
                yield file


def _rows(files: Mapping[str, Path]) -> list[tuple[str, str, int]]:
    return [(name, sha256_of(path), path.stat().st_size) for name, path in sorted(files.items())]


def push(
    remote: Remote,
    bundle: Path,
    options: PushOptions | None = None,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    findings: Callable[[Mapping[str, Any]], None] = lambda report: None,
) -> Pushed:
    """Bring ``bundle`` to the board and let it run. progress: bytes sent, of how many. findings: is told
    the doctor's report before anything is changed.

    Raises GateError where the doctor says no (nothing was changed), DeployError where it went wrong; the
    board then runs what it ran before.
    """
    options = options or PushOptions()
    if not bundle.is_file():
        raise InputError("{path} is not there; expected a bundle that imago bundle wrote", path=bundle)
    manifest = verify(bundle)
    source = Source(bundle, manifest, options)
    job = {
        "manifest": manifest.to_bytes().decode(),
        "signature": _signature(bundle),
        "wheels": source.wheels,
        "debs": source.debs,
        "online": options.online,
        "trust": None if options.trust is None else _key_text(options.trust),
    }
    remote.say(tr("examining the board"))
    plan, sent, told = None, 0, False
    for attempt in range(TRIES):
        try:
            plan = _plan(remote, job, findings if not told else lambda report: None)
            told = True
            sent += _send(remote, source, plan, progress)
            break
        except LineBroken:
            if attempt + 1 == TRIES:
                raise
            remote.say(tr("the connection broke; going on where it stopped"))
    assert plan is not None  # noqa: S101  the loop ends with it, or raises
    release = str(plan.result["release"])
    answer = remote.command("apply", "--timeout", str(options.timeout_s), "--release", release)
    reused = sum(source.sizes.values()) - sent
    return Pushed(answer.result, _report(plan), sent, max(0, reused))


def _plan(remote: Remote, job: Mapping[str, Any], findings: Callable[[Mapping[str, Any]], None]) -> Answer:
    answer = remote.command("plan", payload=[json.dumps(job).encode()])
    report = _report(answer)
    findings(report)
    if answer.code == NO:
        problems = [f for f in report.get("findings", ()) if f.get("level") == "problem"]
        words = "; ".join(" → ".join(filter(None, (f["text"], f["remedy"]))) for f in problems)
        raise GateError(
            "{host} cannot run this, and nothing was changed: {reason}",
            host=remote.ssh.target.host,
            reason=words,
        )
    return answer


def _send(remote: Remote, source: Source, plan: Answer, progress: Callable[[int, int], None]) -> int:
    """Send what is missing; the number of bytes."""
    wanted = [(str(sha), int(size), int(have)) for sha, size, have in plan.result["missing"]]
    wanted = [item for item in wanted if source.sizes.get(item[0]) == item[1] and 0 <= item[2] <= item[1]]
    total = sum(size - have for _, size, have in wanted)
    if not wanted:
        return 0
    remote.say(tr("sending {size:.1f} MB", size=total / 1e6))
    done = 0

    def pieces() -> Iterator[bytes]:
        nonlocal done
        for sha, _, have in wanted:
            for piece in source.pieces(sha, have):
                yield piece
                done += len(piece)
                progress(done, total)

    items = [f"{sha}:{size}:{have}" for sha, size, have in wanted]
    remote.command("receive", "--items", *items, payload=pieces())
    return total


def _report(answer: Answer) -> Mapping[str, Any]:
    return next((event for event in answer.events if event.get("event") == "doctor"), {})


def _signature(bundle: Path) -> str | None:
    path = Path(f"{bundle}{SUFFIX}")
    return path.read_text(encoding="utf-8")[:10_000] if path.is_file() else None


def _key_text(path: Path) -> str:
    from imago.edge_runtime.bundle.minisign import read_public_key

    return read_public_key(path).text()
