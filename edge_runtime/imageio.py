"""The one decoder of picture files: bounded, EXIF-rotated, the same for training and for the board.

And the one encoder, for what records keep and the live page shows.
"""

from __future__ import annotations

import io
import warnings
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.resample import accelerator
from imago.edge_runtime.spec import InputSpec
from imago.edge_runtime.types import U8, Frame

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 100_000_000
WHOLE = 16 << 20  # bytes of a file that is read at once
ORIENTATION = 0x0112  # EXIF tag
END_OF_IMAGE = b"\xff\xd9"
# MPO comes through the JPEG reader and has no entry of its own: naming it turns "no picture" into a KeyError.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


def read_image(
    source: Path | str | bytes, target: InputSpec | None = None, *, max_pixels: int = MAX_PIXELS
) -> Frame:
    """Decode a picture file (or its bytes) to a uint8 frame, ``gray`` or ``rgb``.

    EXIF rotation is applied; transparency is laid on white; animations give their first picture; 16-bit
    greys are scaled to 8. With ``target``, large JPEGs are decoded at 1/2, 1/4 or 1/8 scale as long as at
    least twice the target size is left: every path of imago decodes with the same target, so training,
    evaluation and the board see the same bytes. max_pixels: a lower bound on what strangers may send.

    Raises InputError for anything that is not a whole picture of at most 100 megapixels.
    """
    from PIL import Image, UnidentifiedImageError

    name = "" if isinstance(source, bytes) else str(source)
    shown = name or "picture"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)  # odd EXIF and palette remarks are no user's concern
            data = source if isinstance(source, bytes) else _small_file(source)
            with Image.open(io.BytesIO(data) if data is not None else source, formats=FORMATS) as picture:
                _check_size(picture, shown, max_pixels)
                return _decode(picture, data, target, name)
    except FileNotFoundError as error:
        raise InputError("no such picture: {path}", path=shown) from error
    except IsADirectoryError as error:
        raise InputError("{path} is a folder, not a picture", path=shown) from error
    except UnidentifiedImageError as error:
        raise InputError(
            "{path} is not a picture that can be read (expected JPEG, PNG, BMP, GIF, WebP or TIFF)",
            path=shown,
        ) from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise _too_large(shown, max_pixels) from error
    except InputError:
        raise
    except Exception as error:  # decoders raise many kinds for damaged files; all mean the same to a user
        raise InputError(
            "{path} cannot be decoded ({reason}); the file is damaged or cut: copy it again or remove it",
            path=shown,
            reason=error or type(error).__name__,
        ) from error


def _small_file(path: Path | str) -> bytes | None:
    """The content of a file that is not too large to be read as a whole where that is of use."""
    if accelerator() is None or Path(path).stat().st_size > WHOLE:
        return None
    return Path(path).read_bytes()


def encode_jpeg(frame: Frame, *, quality: int = 90, max_side: int = 1024) -> bytes:
    """JPEG bytes of ``frame``, shrunk to at most ``max_side`` pixels a side."""
    from PIL import Image

    height, width = frame.image.shape[:2]
    pixels = np.ascontiguousarray(frame.image)
    raw = {"gray": "L", "rgb": "RGB", "bgr": "BGR"}[frame.color]
    mode = "L" if frame.color == "gray" else "RGB"
    picture = Image.frombuffer(mode, (width, height), pixels, "raw", raw, 0, 1)
    if max(width, height) > max_side:
        picture.thumbnail((max_side, max_side))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def _too_large(shown: str, limit: int) -> InputError:
    return InputError(
        "{path} has more than {limit} megapixels; make it smaller first", path=shown, limit=limit // 1_000_000
    )


def _check_size(picture: Image, shown: str, limit: int) -> None:
    if picture.width * picture.height > limit:
        raise _too_large(shown, limit)


def _decode(picture: Image, data: bytes | None, target: InputSpec | None, name: str) -> Frame:
    from PIL import ImageOps

    if target is not None and picture.format in ("JPEG", "MPO"):
        side = 2 * max(target.size)  # both ways round: EXIF may still turn the picture
        picture.draft(None, (side, side))
    if data is not None and _is_plain_jpeg(picture, data):
        image = _fast_jpeg(data, picture.mode)
        if image is not None and image.shape[:2] == (picture.height, picture.width):
            return Frame(image=image, color="gray" if picture.mode == "L" else "rgb", name=name)
    picture = ImageOps.exif_transpose(picture)
    image, color = _to_array(picture)
    return Frame(image=image, color=color, name=name)


def _is_plain_jpeg(picture: Image, data: bytes) -> bool:
    """Whether OpenCV sees the same in it as Pillow: whole, upright, at full size, in colours or grey."""
    if picture.format != "JPEG" or picture.mode not in ("L", "RGB") or _reduced(picture):
        return False
    whole = data.rstrip(b"\0\n\r").endswith(
        END_OF_IMAGE
    )  # Pillow refuses what is cut, OpenCV fills it with grey
    return whole and picture.getexif().get(ORIENTATION, 1) == 1


def _reduced(picture: Image) -> bool:
    """Whether ``draft`` chose a smaller scale."""
    return getattr(picture, "decoderconfig", ())[:1] not in ((), (1,))


def _fast_jpeg(data: bytes, mode: str) -> U8 | None:
    """Decoded by OpenCV, where it is loaded already and gives Pillow's bytes, in two thirds of the time."""
    cv2 = accelerator()
    if cv2 is None or not _decodes_alike(cv2):
        return None
    return _opencv_jpeg(cv2, data, mode)


def _opencv_jpeg(cv2: Any, data: bytes, mode: str) -> U8 | None:
    color = cv2.IMREAD_GRAYSCALE if mode == "L" else cv2.IMREAD_COLOR_RGB
    return cv2.imdecode(np.frombuffer(data, np.uint8), color | cv2.IMREAD_IGNORE_ORIENTATION)  # type: ignore[no-any-return]


@lru_cache(maxsize=1)
def _decodes_alike(cv2: Any) -> bool:
    """Both bring a libjpeg of their own: compared once, on noise in every kind of subsampling."""
    from PIL import Image

    if not hasattr(cv2, "IMREAD_COLOR_RGB"):
        return False
    noise = np.random.default_rng(0).integers(0, 256, (72, 88, 3), np.uint8)
    noise[:48] //= 64  # flat parts go other ways through the inverse transform
    for mode in ("L", "RGB"):
        for subsampling in (0, 1, 2):
            stream = io.BytesIO()
            Image.fromarray(noise).convert(mode).save(stream, "JPEG", quality=85, subsampling=subsampling)
            wanted = np.asarray(Image.open(stream))
            got = _opencv_jpeg(cv2, stream.getvalue(), mode)
            if got is None or not np.array_equal(got, wanted):
                return False
    return True


def _to_array(picture: Image) -> tuple[U8, Literal["gray", "rgb"]]:
    if picture.mode in ("I;16", "I;16L", "I;16B", "I", "F"):
        values = np.asarray(picture).astype(np.float64)
        scale = 255 / 65535 if values.max(initial=0) > 255 else 1.0
        return np.clip(np.rint(values * scale), 0, 255).astype(np.uint8), "gray"
    if picture.mode in ("L", "1"):
        return np.array(picture.convert("L")), "gray"
    if picture.mode in ("LA", "La"):
        picture = picture.convert("RGBA")
    if picture.mode in ("RGBA", "RGBa", "PA") or "transparency" in picture.info:
        from PIL import Image as PILImage

        rgba = picture.convert("RGBA")
        white = PILImage.new("RGBA", rgba.size, (255, 255, 255, 255))
        picture = PILImage.alpha_composite(white, rgba)
    return np.array(picture.convert("RGB")), "rgb"
