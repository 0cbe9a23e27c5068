"""imago itself as a wheel: given, built from the checkout that runs, or packed from what is installed."""

from __future__ import annotations

import shutil
import zipfile
from importlib.metadata import Distribution
from pathlib import Path

from imago.deploy.kit.own_wheel import own_wheel as made
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.files import replacing


def own_wheel(folder: Path, given: Path | None = None) -> Path:
    """Put imago's wheel into ``folder``: ``given``, or made here. Raises InputError or StorageError."""
    folder.mkdir(parents=True, exist_ok=True)
    if given is not None:
        if given.suffix != ".whl" or not zipfile.is_zipfile(given):
            raise InputError("{path} is not a wheel; give the file imago_edge-….whl", path=given)
        with replacing(folder / given.name) as temporary:
            shutil.copyfile(given, temporary)
        return folder / given.name
    return made(folder, lambda line: None)


def wheel_metadata(wheel: Path) -> Distribution:
    """What a wheel says of itself."""
    with zipfile.ZipFile(wheel) as packed:
        name = next(n for n in packed.namelist() if n.endswith(".dist-info/METADATA"))
        text = packed.read(name).decode("utf-8")
    return _Text(text)


class _Text(Distribution):
    """Metadata from a string."""

    def __init__(self, text: str) -> None:
        self._content = text

    def read_text(self, filename: str) -> str | None:
        return self._content if filename == "METADATA" else None

    def locate_file(self, path: object) -> Path:
        return Path(str(path))
