"""Every test of the data room has a cache of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGO_CACHE", str(tmp_path / "imago-cache"))
    monkeypatch.setenv("IMAGO_LANG", "en")
