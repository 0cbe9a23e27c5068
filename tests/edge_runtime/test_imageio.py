"""The one decoder: formats, rotation, bounds, damaged files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.imageio import read_image
from imago.edge_runtime.preprocess import Preprocessor
from imago.edge_runtime.spec import InputSpec


def photo(width: int = 60, height: int = 40) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 4 % 256, y * 6 % 256, (x + y) * 2 % 256], -1).astype(np.uint8))


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show rotated by 90° clockwise
    photo().save(tmp_path / "turned.png", exif=exif)
    frame = read_image(tmp_path / "turned.png")
    assert frame.image.shape == (60, 40, 3)
    assert np.array_equal(frame.image, np.rot90(np.asarray(photo()), -1))


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "webp", "tiff", "ppm", "jpg"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    photo().save(tmp_path / f"a.{suffix}")
    frame = read_image(tmp_path / f"a.{suffix}")
    assert (frame.image.shape, frame.color) == ((40, 60, 3), "rgb")


def test_gray_and_sixteen_bit() -> None:
    for mode, wanted in (("L", "gray"), ("1", "gray"), ("I;16", "gray"), ("LA", "rgb"), ("P", "rgb")):
        buffer = io.BytesIO()
        if mode == "I;16":
            Image.fromarray(np.full((5, 5), 65535, np.uint16)).save(buffer, "PNG")
        else:
            photo(5, 5).convert(mode).save(buffer, "PNG")
        frame = read_image(buffer.getvalue())
        assert frame.color == wanted
    assert frame.image.max() <= 255


def test_transparency_is_laid_on_white() -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(buffer, "PNG")
    assert (read_image(buffer.getvalue()).image == 255).all()


@pytest.mark.parametrize("damage", ["truncated", "zero", "text", "missing", "folder"])
def test_damaged_files_are_one_clear_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "p.jpg"
    photo().save(path)
    match damage:
        case "truncated":
            path.write_bytes(path.read_bytes()[:400])
        case "zero":
            path.write_bytes(b"")
        case "text":
            path.write_text("not a picture")
        case "missing":
            path.unlink()
        case "folder":
            path.unlink()
            path.mkdir()
    with pytest.raises(InputError) as error:
        read_image(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert ("is not a picture" in str(error.value)) == (damage in ("zero", "text"))


def test_decompression_bombs_are_refused() -> None:
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    with pytest.raises(InputError, match="megapixels"):
        read_image(buffer.getvalue())


def test_scaled_decoding_keeps_the_picture(tmp_path: Path) -> None:
    photo(30, 22).resize((1200, 900), Image.Resampling.BICUBIC).save(tmp_path / "big.jpg", quality=95)
    spec = InputSpec(64, 64)
    scaled = read_image(tmp_path / "big.jpg", spec)
    full = read_image(tmp_path / "big.jpg")
    assert scaled.image.shape[0] < full.image.shape[0]
    assert min(scaled.image.shape[:2]) >= 128
    a, b = (Preprocessor(spec).pixels(f).astype(int) for f in (scaled, full))
    assert np.abs(a - b).mean() < 3
