"""imago itself as a wheel: given, built from the checkout that runs, or packed from what is installed."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import shutil
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.files import replacing
from imago.workflow.classroom.resolve import pip

NAME = "imago-edge"
LEFT_OUT = ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json")  # written by whoever installs


def own_wheel(folder: Path, given: Path | None = None) -> Path:
    """Put imago's wheel into ``folder``. Raises InputError where that cannot be."""
    folder.mkdir(parents=True, exist_ok=True)
    if given is not None:
        if given.suffix != ".whl" or not zipfile.is_zipfile(given):
            raise InputError("{path} is not a wheel; give the file imago_edge-….whl", path=given)
        with replacing(folder / given.name) as temporary:
            shutil.copyfile(given, temporary)
        return folder / given.name
    dist = distribution(NAME)
    checkout = _checkout(dist)
    return _built(checkout, folder) if checkout is not None else _packed(dist, folder)


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


def _checkout(dist: Distribution) -> Path | None:
    """The folder of an editable install."""
    data = json.loads(dist.read_text("direct_url.json") or "{}")
    if not data.get("dir_info", {}).get("editable"):
        return None
    return Path(url2pathname(urlsplit(data["url"]).path))


def _built(checkout: Path, folder: Path) -> Path:
    place = folder / ".build"
    done = pip("wheel", "--quiet", "--no-deps", "--no-input", "--wheel-dir", str(place), str(checkout))
    try:
        if done.returncode:
            raise InputError(
                "imago's own wheel cannot be built ({reason}); build it elsewhere and give it with --wheel",
                reason=(done.stderr.strip().splitlines() or ["?"])[-1],
            )
        (wheel,) = place.glob("*.whl")
        return wheel.replace(folder / wheel.name)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _packed(dist: Distribution, folder: Path) -> Path:
    """The installed files, in a wheel again: the same bytes, a new RECORD."""
    files = [
        f for f in dist.files or () if f.parts[0] in ("imago", _info(dist)) and "__pycache__" not in f.parts
    ]
    files = [f for f in files if f.name not in LEFT_OUT or f.parts[0] == "imago"]
    target = folder / f"imago_edge-{dist.version}-py3-none-any.whl"
    rows: list[tuple[str, str, str]] = []
    with replacing(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(files, key=str):
            data = Path(str(dist.locate_file(file))).read_bytes()
            packed.writestr(file.as_posix(), data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows.append((file.as_posix(), f"sha256={digest}", str(len(data))))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*rows, (f"{_info(dist)}/RECORD", "", "")])
        packed.writestr(f"{_info(dist)}/RECORD", text.getvalue())
    return target


def _info(dist: Distribution) -> str:
    return f"imago_edge-{dist.version}.dist-info"
