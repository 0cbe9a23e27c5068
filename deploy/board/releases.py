"""Bundles on the board: members kept once under their SHA-256, a folder of links for every release."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from imago.deploy.board.envs import newest_name, python_of, ready
from imago.deploy.board.layout import (
    READY,
    Root,
    check_space,
    link_or_copy,
    read_json,
    scratch,
    sync,
    write_state,
)
from imago.edge_runtime.bundle.archive import sha256_of, unpack
from imago.edge_runtime.bundle.manifest import MANIFEST, SHA256, Manifest
from imago.edge_runtime.errors import DeployError, InputError

CHUNK = 1 << 18
SIGNATURE = "bundle.minisig"
FACTS = "release.json"


@dataclass(frozen=True, slots=True)
class Item:
    """Something in the store. size: bytes."""

    sha256: str
    size: int

    def __post_init__(self) -> None:
        if not SHA256.fullmatch(self.sha256) or self.size < 0:
            raise InputError("'{text}' is no SHA-256 with a size", text=f"{self.sha256[:70]}:{self.size}")

    @classmethod
    def parse(cls, text: str) -> Item:
        """``SHA256:SIZE``."""
        sha256, _, size = text.partition(":")
        return cls(sha256, int(size) if size.isdigit() else -1)


def missing(root: Root, items: Iterable[Item]) -> list[tuple[Item, int]]:
    """What the store lacks of ``items``, each with the number of bytes that have arrived already."""
    found = []
    for item in dict.fromkeys(items):
        if not _stored(root, item):
            part = root / "incoming" / item.sha256
            have = part.stat().st_size if part.is_file() else 0
            found.append((item, have if have <= item.size else 0))
    return found


def receive(root: Root, items: Sequence[tuple[Item, int]], stream: BinaryIO) -> None:
    """Take the items' bytes, one after the other, from ``stream``; each from its offset on.

    What arrived stays when the connection breaks. Raises DeployError where it breaks, where the bytes are
    not those that were announced, or where they do not fit on the disk.
    """
    check_space(root.path, sum(item.size - offset for item, offset in items))
    for item, offset in items:
        part = root / "incoming" / item.sha256
        with part.open("r+b" if part.exists() else "w+b") as file:
            file.truncate(offset)
            file.seek(offset)
            left = item.size - offset
            while left and (piece := stream.read(min(CHUNK, left))):
                file.write(piece)
                left -= len(piece)
            file.flush()
            os.fsync(file.fileno())
        if left:
            raise DeployError("the connection broke; what arrived is kept: push again to go on")
        adopt(root, part, item)


def adopt(root: Root, path: Path, item: Item) -> None:
    """Move a file into the store, once its bytes are proved. Raises DeployError and drops it where not."""
    if path.stat().st_size != item.size or sha256_of(path) != item.sha256:
        path.unlink()
        raise DeployError("{name} arrived damaged and was dropped; push again", name=item.sha256[:12])
    path.chmod(0o644)
    path.replace(root / "store" / item.sha256)
    sync(root / "store")


def release_name(manifest: Manifest, env: str) -> str:
    """A release is a bundle on an environment: a new imago under the same bundle can be taken back, too."""
    return f"{manifest.release}-{env[:8]}"


def make_release(root: Root, manifest: Manifest, env: str, signature: str | None = None) -> tuple[str, bool]:
    """A release from members in the store; its name, and whether it is new.

    Raises DeployError where a member is missing or damaged, or the signature that this board asks for is.
    """
    name = release_name(manifest, env)
    if root.whole(name):
        return name, False
    if not ready(root, env):
        raise DeployError("there is no environment on the board yet; install comes first")
    with scratch(root, "release") as work:
        (work / "models").mkdir()
        (work / MANIFEST).write_bytes(manifest.to_bytes())
        for member, facts in manifest.members.items():
            stored = root / "store" / facts.sha256
            if not stored.is_file() or sha256_of(stored) != facts.sha256:
                stored.unlink(missing_ok=True)
                raise DeployError("{name} is missing on the board, or damaged; push again", name=member)
            link_or_copy(stored, work / member)
        if signature is not None:
            (work / SIGNATURE).write_text(signature, encoding="utf-8")
        write_state(work / FACTS, {"made": time.strftime("%Y-%m-%dT%H:%M:%S%z")})
        (work / "env").symlink_to(Path("..") / ".." / "envs" / env)  # the same from incoming and releases
        verify_release(root, work)
        shutil.rmtree(root.release(name), ignore_errors=True)  # one that is not whole
        os.sync()
        work.replace(root.release(name))
        sync(root / "releases")
    return name, True


def import_bundle(root: Root, bundle: Path, env: str, signature: str | None = None) -> tuple[str, bool]:
    """A release from a whole ``.imago`` file that lies on the board. Raises BundleError, DeployError."""
    manifest = store_bundle(root, bundle)
    beside = Path(f"{bundle}.minisig")
    if signature is None and beside.is_file():
        signature = beside.read_text(encoding="utf-8", errors="replace")[:10_000]
    return make_release(root, manifest, env, signature)


def store_bundle(root: Root, bundle: Path) -> Manifest:
    """Put the members of a whole ``.imago`` file into the store. Raises BundleError, DeployError."""
    with scratch(root, "bundle") as folder:
        check_space(root.path, bundle.stat().st_size)
        manifest = unpack(bundle, folder / "content")
        for name, member in manifest.members.items():
            item = Item(member.sha256, member.size)
            if not _stored(root, item):
                adopt(root, folder / "content" / name, item)
    return manifest


def verify_release(root: Root, folder: Path) -> dict[str, Any]:
    """Let the release's own imago check every byte, its signature and its self-test; its report.

    Raises DeployError with the reason where anything does not hold.
    """
    trusted = root / "trusted.pub"
    more = ["--key", str(trusted), "--signature", str(folder / SIGNATURE)] if trusted.exists() else []
    python = str(python_of(folder / "env"))
    done = subprocess.run(  # noqa: S603  argument list, no shell
        [python, "-I", "-m", "imago.edge_runtime.bundle.selftest", str(folder), *more],
        capture_output=True, text=True, errors="replace", check=False, stdin=subprocess.DEVNULL, timeout=600,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        report = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        report = {"ok": False, "reason": _last_words(done.returncode, done.stderr)}
    if not isinstance(report, dict) or not report.get("ok"):
        raise DeployError("the release does not work on this board: {reason}", reason=report["reason"])
    return report


def prune(root: Root, keep: int) -> dict[str, list[str]]:
    """Remove all but the ``keep`` newest releases (what runs and what ran before always stay), and what
    nothing uses any more: environments, members, unfinished things."""
    stay = [name for name in (root.current, root.previous) if name]
    stay += [name for name in root.releases() if name not in stay][: max(0, keep - len(stay))]
    gone: dict[str, list[str]] = {"releases": [], "envs": [], "store": []}
    for folder in sorted((root / "releases").iterdir()):
        if folder.name not in stay:
            shutil.rmtree(folder, ignore_errors=True)
            gone["releases"].append(folder.name)
    used = {_env_of(root, name) for name in stay} | {newest_name(root)}
    for env in sorted(path for path in (root / "envs").iterdir() if path.is_dir()):
        if env.name not in used:
            shutil.rmtree(env, ignore_errors=True)
            gone["envs"].append(env.name)
    wanted = {m.sha256 for name in stay for m in root.manifest(name).members.values()}
    for env in (root / "envs").iterdir():  # wheels stay: a new imago then brings only its own
        wanted |= set((read_json(env / READY) or {}).get("wheels", {}).values())
    for blob in sorted((root / "store").iterdir()):
        if blob.name not in wanted:
            blob.unlink()
            gone["store"].append(blob.name)
    for left in (root / "incoming").iterdir():
        shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
    return gone


def describe(root: Root, name: str) -> dict[str, Any]:
    """A release in a few words."""
    manifest = root.manifest(name)
    return {
        "release": name,
        "name": manifest.name,
        "imago": manifest.imago,
        "env": _env_of(root, name),
        **(read_json(root.release(name) / FACTS) or {}),
    }


def _env_of(root: Root, name: str) -> str:
    try:
        return Path((root.release(name) / "env").readlink()).name
    except OSError:
        return ""


def _stored(root: Root, item: Item) -> bool:
    path = root / "store" / item.sha256
    return path.is_file() and path.stat().st_size == item.size


def _last_words(code: int, err: str) -> str:
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    if code < 0:
        return signal.Signals(-code).name
    return lines[-1][:300] if lines else f"exit code {code}"
