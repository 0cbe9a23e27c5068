"""Boards for the tests: one environment, made once, shared by all their folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import push_support
from push_support import Board


@pytest.fixture(scope="session")
def kit(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of wheels for this Python."""
    push_support.need_sshd()
    return push_support.download_wheels(tmp_path_factory.mktemp("kit"), wheel)


@pytest.fixture(scope="session")
def envs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all boards of this session keep their environments: the first makes it, the others find it."""
    return tmp_path_factory.mktemp("envs")


@pytest.fixture
def board(envs: Path, tmp_path: Path) -> Iterator[Board]:
    """A board that has never seen imago; its sshd runs."""
    push_support.need_sshd()
    made = Board(tmp_path / "board")
    made.root.mkdir()
    (made.root / "envs").symlink_to(envs)
    made.start()
    yield made
    made.close()
