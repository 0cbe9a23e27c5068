"""What is a bundle, by its name: asked for every model file, so it imports nothing."""

from __future__ import annotations

from pathlib import Path

MANIFEST = "manifest.json"


def is_bundle(path: Path) -> bool:
    """Whether ``path`` looks like a bundle, or like one that was unpacked."""
    return path.suffix.lower() == ".imago" or (path.is_dir() and (path / MANIFEST).is_file())
