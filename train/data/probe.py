"""Looking at one picture file: what it really is, whether it decodes, and what stands out."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.imageio import read_image
from imago.edge_runtime.types import U8
from imago.train.data.digests import DIGEST_BYTES
from imago.train.data.shards import content_of

# Suffixes under which a format goes; anything else is a wrong extension.
SUFFIXES = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "MPO": {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"},
    "PNG": {".png"},
    "BMP": {".bmp"},
    "GIF": {".gif"},
    "WEBP": {".webp"},
    "TIFF": {".tif", ".tiff"},
    "PPM": {".ppm", ".pgm"},
}


@dataclass(frozen=True, slots=True)
class Probe:
    """What one file turned out to be.

    fault: "", "empty", "truncated" or "unreadable" (then reason says more). format: by content, "" where
    unknown. width, height: pixels as decoded. pixels: hash of the decoded picture. grey: no colour in it.
    content: hash of the file (of its name where it cannot even be read).
    """

    path: str
    fault: str = ""
    reason: str = ""
    format: str = ""
    frames: int = 1
    width: int = 0
    height: int = 0
    grey: bool = False
    pixels: bytes = b""
    content: bytes = b""

    @property
    def suffix_fits(self) -> bool:
        """Whether the name's suffix says what is inside."""
        return not self.format or Path(self.path).suffix.lower() in SUFFIXES.get(self.format, set())


def probe(root: Path, path: str) -> Probe:
    """Decode ``root / path`` as training would; never raises for a broken file."""
    try:
        data = content_of(root, path)
    except OSError as error:
        return Probe(path, "unreadable", error.strerror or str(error), content=_hash(path.encode()))
    content = _hash(data)
    if not data:
        return Probe(path, "empty", content=content)
    kind, frames = _header(data)
    try:
        image = read_image(data).image
    except InputError as error:
        cut = kind != "" and _is_cut(kind, data, str(error.__cause__ or error))
        return Probe(
            path, "truncated" if cut else "unreadable", _reason(error), kind, frames, content=content
        )
    digest = hashlib.blake2b(str(image.shape).encode(), digest_size=DIGEST_BYTES)
    digest.update(np.ascontiguousarray(image).data)
    return Probe(
        path=path,
        format=kind,
        frames=frames,
        width=image.shape[1],
        height=image.shape[0],
        grey=_is_grey(image),
        pixels=digest.digest(),
        content=content,
    )


def _hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def _header(data: bytes) -> tuple[str, int]:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as picture:
                return picture.format or "", getattr(picture, "n_frames", 1)
    except Exception:  # noqa: BLE001 - decoders raise many kinds; the decoding that follows reports it
        return "", 1


def _is_cut(kind: str, data: bytes, message: str) -> bool:
    if kind in ("JPEG", "MPO"):
        return b"\xff\xd9" not in data[-64:]
    return "truncated" in message.lower() or "eof" in message.lower()


def _reason(error: InputError) -> str:
    return str(error.values.get("reason") or error.__cause__ or error)


def _is_grey(image: U8) -> bool:
    """No colour anywhere; a sample of the pixels decides, with room for JPEG's rounding."""
    if image.ndim == 2:
        return True
    step = max(1, min(image.shape[:2]) // 64)
    sample = image[::step, ::step].astype(np.int16)
    return bool((sample.max(axis=2) - sample.min(axis=2)).max() <= 4)
