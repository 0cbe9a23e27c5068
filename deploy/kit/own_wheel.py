"""imago's own wheel: built from the checkout that runs, or packed again from what is installed."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.util
import io
import zipfile
from importlib import metadata
from pathlib import Path, PurePosixPath

from imago.deploy.kit.pip import Tell, pip
from imago.edge_runtime.errors import StorageError
from imago.edge_runtime.files import replacing

DISTRIBUTION = "imago-edge"
EPOCH = (2020, 2, 2, 0, 0, 0)  # hatchling's: the same input gives the same bytes
# Written by the installer about this very installation.
LOCAL = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}


def own_wheel(folder: Path, tell: Tell) -> Path:
    """Put imago's wheel into ``folder``; its path. Raises StorageError."""
    for old in folder.glob("imago_edge-*.whl"):
        old.unlink()
    checkout = Path(__file__).resolve().parents[2]
    if _is_checkout(checkout):
        ready = importlib.util.find_spec("hatchling") is not None
        isolation = ["--no-build-isolation"] if ready else []
        pip("wheel", ["--no-deps", *isolation, "--wheel-dir", str(folder), str(checkout)], tell, what="imago")
    else:
        repack(metadata.distribution(DISTRIBUTION), folder)
    found = list(folder.glob("imago_edge-*.whl"))
    if len(found) != 1:
        raise StorageError("imago's own wheel was not built from {path}", path=checkout)
    return found[0]


def repack(installed: metadata.Distribution, folder: Path) -> Path:
    """A wheel from the files of an installed package (pure Python only: the tag is copied)."""
    files = [PurePosixPath(str(file)) for file in installed.files or ()]
    info = next((file.parts[0] for file in files if file.parts[0].endswith(".dist-info")), None)
    if info is None:
        raise StorageError("{name} is not installed as a package; pip install {name}", name=DISTRIBUTION)
    inside = [file for file in files if _belongs(file, info)]
    # PEP 427: name-version-tag; the tag is a line of the WHEEL file.
    tag = next(
        line.split(":")[1].strip()
        for line in (installed.read_text("WHEEL") or "").splitlines()
        if line.startswith("Tag:")
    )
    target = folder / f"{info.removesuffix('.dist-info')}-{tag}.whl"
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    with replacing(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(inside):
            body = Path(str(installed.locate_file(str(file)))).read_bytes()
            rows.writerow((file, f"sha256={_digest(body)}", len(body)))
            archive.writestr(zipfile.ZipInfo(str(file), EPOCH), body, zipfile.ZIP_DEFLATED)
        rows.writerow((f"{info}/RECORD", "", ""))
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD", EPOCH), record.getvalue(), zipfile.ZIP_DEFLATED)
    return target


def _belongs(file: PurePosixPath, info: str) -> bool:
    if ".." in file.parts or "__pycache__" in file.parts:  # ../../bin/imago: made by the installer
        return False
    return not (file.parts[0] == info and file.name in LOCAL)


def _digest(body: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()


def _is_checkout(folder: Path) -> bool:
    try:
        return f'name = "{DISTRIBUTION}"' in (folder / "pyproject.toml").read_text(encoding="utf-8")
    except OSError:
        return False
