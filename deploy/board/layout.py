"""The board's folder, and the few ways in which anything in it changes: by one rename, synced."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imago.edge_runtime.bundle.archive import read_manifest
from imago.edge_runtime.bundle.manifest import MANIFEST, Manifest
from imago.edge_runtime.bundle.settings import RunSettings
from imago.edge_runtime.errors import BundleError, DeployError
from imago.edge_runtime.files import replacing

LOCK_WAIT_S = 120.0
READY = ".ready"


@dataclass(frozen=True, slots=True)
class Root:
    """A board's folder; see the package's docstring."""

    path: Path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def make(self) -> None:
        """Create what is missing. Raises DeployError without the right to."""
        try:
            for name in ("store", "incoming", "envs", "releases", "state", "run"):
                (self.path / name).mkdir(parents=True, exist_ok=True)
        except PermissionError as error:
            raise DeployError(
                "no right to write to {path}; log in as a user with sudo, or as root", path=self.path
            ) from error

    @property
    def current(self) -> str | None:
        """The release that runs, where there is a whole one."""
        return self._target("current")

    @property
    def previous(self) -> str | None:
        """The release to go back to, where there is a whole one."""
        return self._target("previous")

    def release(self, name: str) -> Path:
        """A release's folder."""
        return self.path / "releases" / name

    def whole(self, name: str) -> bool:
        """Whether a release is there with its environment: both are finished by one last step."""
        folder = self.release(name)
        return (folder / MANIFEST).is_file() and (folder / "env" / READY).is_file()

    def releases(self) -> list[str]:
        """All whole releases, the newest first."""
        folder = self.path / "releases"
        found = [p for p in folder.iterdir() if not p.name.startswith(".")] if folder.is_dir() else []
        found.sort(key=lambda p: (p.stat().st_mtime_ns, p.name), reverse=True)
        return [p.name for p in found if self.whole(p.name)]

    def manifest(self, name: str) -> Manifest:
        """A release's manifest. Raises BundleError."""
        return read_manifest(self.release(name))

    def settings(self, name: str) -> RunSettings:
        """How a release is run here: its own settings, then the board's."""
        return self.manifest(name).run.merged(self.board_settings())

    def board_settings(self) -> RunSettings:
        """What ``board.json`` says. Raises DeployError where it is damaged."""
        data = read_json(self / "board.json")
        try:
            return RunSettings.from_dict(data or {})
        except BundleError as error:
            raise DeployError(
                "{path} is not usable ({reason}); correct or remove it",
                path=self / "board.json",
                reason=error,
            ) from error

    def point(self, link: str, release: str) -> None:
        """Let ``current`` or ``previous`` name a release: one rename, on the disk when this returns."""
        temporary = self.path / f".{link}.{os.urandom(4).hex()}"
        temporary.symlink_to(Path("releases") / release)
        temporary.replace(self.path / link)
        sync(self.path)

    def _target(self, link: str) -> str | None:
        try:
            name = Path((self.path / link).readlink()).name
        except OSError:
            return None
        return name if self.whole(name) else None

    @contextlib.contextmanager
    def locked(self, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
        """One at a time changes anything. Raises DeployError when it takes too long."""
        self.make()
        with (self.path / "lock").open("a") as file:
            until = time.monotonic() + wait_s
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise DeployError(
                            "another deployment is at work on this board; try again when it is done"
                        ) from None
                    time.sleep(0.1)
            yield


@contextlib.contextmanager
def scratch(root: Root, purpose: str) -> Iterator[Path]:
    """A new folder in ``incoming`` for half-made things; gone afterwards, if it is still there."""
    folder = root / "incoming" / f"{purpose}-{os.urandom(4).hex()}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sync(folder: Path) -> None:
    """Put the folder's own entries (renames) on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_state(path: Path, data: Any) -> None:
    """Write JSON so that a power cut leaves the old or the new."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    sync(path.parent)


def read_json(path: Path) -> Any:
    """What ``write_state`` wrote; None where there is nothing that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def link_or_copy(source: Path, target: Path) -> None:
    """The same bytes in a second place: a hard link, or a copy where the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def check_space(folder: Path, wanted: int) -> None:
    """Raise DeployError where fewer than ``wanted`` bytes (and a reserve) are free."""
    reserve = 50_000_000
    free = shutil.disk_usage(folder).free
    if free < wanted + reserve:
        raise DeployError(
            "not enough space on the board: {free} MB are free in {path}, {wanted} MB are needed; "
            "remove old crops or releases (imago deploy … --prune 2), or use a larger card",
            free=free // 10**6,
            path=folder,
            wanted=(wanted + reserve) // 10**6,
        )
