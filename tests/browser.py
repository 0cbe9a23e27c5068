"""Debian's Chromium, driven by Playwright; a fresh profile for every test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = (1366, 768), (390, 844)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser; skips where there is none, fails in CI."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None  # type: ignore[assignment]
    if PROGRAM is None or sync_playwright is None:
        if os.environ.get("CI"):
            pytest.fail("chromium or playwright is not installed")
        pytest.skip("chromium or playwright is not installed")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=PROGRAM, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def a_page(
    browser: Browser, size: tuple[int, int] = DESKTOP, *, complaints: list[str] | None = None, **more: Any
) -> Iterator[Page]:
    """A page in a context of its own; what it says on its console as a warning or worse fails the test.

    complaints: collects that instead.
    """
    phone = size[0] < 600
    values = {"locale": "en-GB", "is_mobile": phone, "has_touch": phone, **more}
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **values)
    said: list[str] = [] if complaints is None else complaints
    page = context.new_page()
    page.on("console", lambda m: said.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.set_default_timeout(30_000)
    try:
        yield page
    finally:
        context.close()
    assert complaints is not None or not said, said
