"""What a release stands on: Debian packages, then the environment, which sees what they bring."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from imago.deploy.board import debs, envs
from imago.deploy.board.layout import Root


@dataclass(frozen=True, slots=True)
class Provided:
    """env: the environment's name; new: it had to be made. debs: packages that were installed for it."""

    env: str
    new: bool
    debs: list[str]

    @property
    def changed(self) -> bool:
        """Whether the board had not had all of it."""
        return self.new or bool(self.debs)


def provide(root: Root, wanted: envs.Wanted, files: Mapping[str, Path], packages: Iterable[str]) -> Provided:
    """Install what is missing. files: wheels and Debian packages by name; packages: names of the latter.

    Raises DeployError where it cannot be done.
    """
    installed = debs.install(root, {name: files[name] for name in packages})
    env, new = envs.install(root, wanted, files)
    return Provided(env, new, installed)
