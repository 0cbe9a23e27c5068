"""The emulated board for tests: missing tools skip, and fail in CI."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from emulation import debian, userland
from emulation.userland import Userland


@pytest.fixture(scope="session")
def system() -> Callable[[str], Userland]:
    """The userland of a Debian release."""

    def of(suite: str) -> Userland:
        try:
            return userland.userland(suite)
        except (debian.Unavailable, RuntimeError) as error:
            if os.environ.get("CI"):
                pytest.fail(str(error))
            pytest.skip(str(error))

    return of


@pytest.fixture
def share(wheel: Path, tmp_path: Path) -> Path:
    """A folder that the board sees as /share, with imago's own wheel in it."""
    userland.unpack_product(wheel, tmp_path)
    return tmp_path
