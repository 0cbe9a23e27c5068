"""The page's own files, read once; there is no way from a request to any other file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = ("page", "ui", "camera", "visits", "figures", "ask")
FILES = {
    "/": ("static/index.html", "text/html; charset=utf-8"),
    "/page.css": ("static/page.css", "text/css; charset=utf-8"),
    **{f"/{name}.js": (f"static/{name}.js", "text/javascript; charset=utf-8") for name in SCRIPTS},
    "/icon.svg": ("static/icon.svg", "image/svg+xml"),
    "/manifest.json": ("static/manifest.json", "application/manifest+json"),
    "/texts/zh.json": ("../locale/zh.web.json", "application/json; charset=utf-8"),
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: its bytes, its media type, and a name for this very content."""

    body: bytes
    kind: str
    etag: str


@cache
def asset(path: str) -> Asset | None:
    """The file that is served at ``path``; None where there is none."""
    if path not in FILES:
        return None
    name, kind = FILES[path]
    body = (HERE / name).read_bytes()
    return Asset(body, kind, f'"{hashlib.sha256(body).hexdigest()[:16]}"')
