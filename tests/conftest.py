"""Options and settings for all tests."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("IMAGO_LANG", "en")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="also run tests marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--run-slow"):
        return
    skip = pytest.mark.skip(reason="slow: scripts/test --all runs it")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests never touch the user's cache; within one session they share one."""
    monkeypatch.setenv("IMAGO_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
