"""The one decoder: formats, rotation, bounds, damaged files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imago.edge_runtime import imageio
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


def jpeg(mode: str = "RGB", **options: object) -> bytes:
    noise = (
        np.random.default_rng(1).integers(0, 256, (50, 70, 3), np.uint8) // 3 + np.asarray(photo(70, 50)) // 2
    )
    buffer = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(buffer, "JPEG", **{"quality": 88, **options})  # type: ignore[arg-type]
    return buffer.getvalue()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 8
    return exif


JPEGS = {
    "colours": jpeg(),
    "not subsampled": jpeg(subsampling=0),
    "subsampled one way": jpeg(subsampling=1),
    "progressive": jpeg(progressive=True),
    "grey": jpeg("L"),
    "print colours": jpeg("CMYK"),
    "turned": jpeg(exif=turned()),
    "padded": jpeg() + b"\0" * 512,
    "poor": jpeg(quality=5),
}


@pytest.mark.parametrize("kind", JPEGS)
def test_opencv_decodes_the_same_bytes(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    assert imageio._decodes_alike(cv2)
    for target in (None, InputSpec(16, 16)):  # the second is decoded at a smaller scale
        monkeypatch.setattr(imageio, "accelerator", lambda: cv2)
        fast = read_image(JPEGS[kind], target)
        monkeypatch.setattr(imageio, "accelerator", lambda: None)
        plain = read_image(JPEGS[kind], target)
        assert np.array_equal(fast.image, plain.image)
        assert fast.color == plain.color


def test_a_cut_jpeg_is_refused_with_opencv_too(tmp_path: Path) -> None:
    import cv2

    assert imageio.accelerator() is cv2
    path = tmp_path / "cut.jpg"
    path.write_bytes(JPEGS["colours"][:-200])
    with pytest.raises(InputError, match="damaged or cut"):
        read_image(path)


def test_an_opencv_that_decodes_otherwise_is_not_trusted() -> None:
    import cv2

    class Other:
        IMREAD_COLOR_RGB, IMREAD_GRAYSCALE, IMREAD_IGNORE_ORIENTATION = 256, 0, 128

        @staticmethod
        def imdecode(data: np.ndarray, flags: int) -> np.ndarray:
            return cv2.imdecode(data, flags) ^ 1

    assert not imageio._decodes_alike(Other)
