"""Where imago keeps what it can make again at any time: one folder, chosen once, here."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_root() -> Path:
    """``IMAGO_CACHE``, else ``imago`` in the folder that the operating system has for caches."""
    chosen = os.environ.get("IMAGO_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "imago" / "cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "imago"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "imago"
