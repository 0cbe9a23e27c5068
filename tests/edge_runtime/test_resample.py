"""The one resize: exact, the same with and without OpenCV, antialiased, and close to other libraries."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imago.edge_runtime import resample
from imago.edge_runtime.resample import ONE, halve, resize, to_gray, triangle_weights

SIZES = st.integers(1, 160)


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def by_hand(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """The definition in int64, without floats, matrix libraries or OpenCV."""
    image = image.astype(np.int64)
    while image.shape[0] >= 2 * height and image.shape[1] >= 2 * width:
        image = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
        image = (image[0::2, 0::2] + image[0::2, 1::2] + image[1::2, 0::2] + image[1::2, 1::2] + 2) >> 2
    if image.shape[:2] == (height, width):
        return image.astype(np.uint8)
    down = triangle_weights(image.shape[0], height).astype(np.int64)
    across = triangle_weights(image.shape[1], width).astype(np.int64)
    rows = np.einsum("ij,j...->i...", down, image)
    both = np.einsum("ij,kj...->ki...", across, rows)
    return ((both + (1 << 15)) >> 16).astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(SIZES, SIZES, SIZES, SIZES, st.sampled_from([1, 3]), st.integers(0, 9))
def test_float32_arithmetic_is_exact(h: int, w: int, height: int, width: int, c: int, seed: int) -> None:
    image = noise(h, w, c, seed)
    assert np.array_equal(resize(image, width, height), by_hand(image, width, height))


def test_the_largest_values_stay_exact() -> None:
    white = np.full((97, 131, 3), 255, np.uint8)
    assert (resize(white, 60, 50) == 255).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 200))
def test_weights_are_integers_that_sum_to_one(source: int, target: int) -> None:
    weights = triangle_weights(source, target)
    assert (weights.sum(1) == ONE).all()
    assert (weights >= 0).all()
    assert np.array_equal(weights, np.rint(weights))


def defined(source: int, target: int) -> np.ndarray:
    """The weights as the definition words them, one by one, by largest remainders."""
    reach, rows = 2 * max(source, target), []
    for i in range(target):
        raw = [max(0, reach - abs((2 * j + 1) * target - (2 * i + 1) * source)) for j in range(source)]
        shares = [ONE * value // sum(raw) for value in raw]
        order = sorted(range(source), key=lambda j: (-(ONE * raw[j] % sum(raw)), j))
        for j in order[: ONE - sum(shares)]:
            shares[j] += 1
        rows.append(shares)
    return np.array(rows)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 100))
def test_weights_are_those_of_the_definition(source: int, target: int) -> None:
    assert np.array_equal(triangle_weights(source, target), defined(source, target))


@pytest.mark.parametrize(
    "shape", [(480, 480, 3), (448, 448, 3), (120, 120), (97, 131, 3), (33, 35), (2, 2, 3)]
)
def test_opencv_gives_the_same_bytes(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    assert resample.accelerator() is cv2  # it is loaded here, and trusted
    fast, resized = halve(image), resize(image, 97, 70)
    gray = to_gray(image, "bgr") if image.ndim == 3 else image
    monkeypatch.setattr(resample, "accelerator", lambda: None)
    assert np.array_equal(fast, halve(image))
    assert np.array_equal(resized, resize(image, 97, 70))
    assert np.array_equal(gray, to_gray(image, "bgr") if image.ndim == 3 else image)


def test_an_opencv_that_differs_is_not_trusted() -> None:
    class Other:
        INTER_AREA = COLOR_RGB2GRAY = COLOR_BGR2GRAY = 0

        @staticmethod
        def resize(image: np.ndarray, size: tuple[int, int], interpolation: int) -> np.ndarray:
            return np.zeros((size[1], size[0], *image.shape[2:]), np.uint8)

    assert not resample._agrees.__wrapped__(Other)


@pytest.mark.parametrize(("source", "target"), [(480, 224), (400, 224), (120, 32), (500, 128), (240, 224)])
def test_close_to_pillows_antialiased_filter(source: int, target: int) -> None:
    rng = np.random.default_rng(3)
    smooth = cv2.GaussianBlur(rng.integers(0, 256, (source, source, 3), dtype=np.uint8), (0, 0), 3)
    pillow = np.asarray(Image.fromarray(smooth).resize((target, target), Image.Resampling.BILINEAR))
    ours = resize(smooth, target, target)
    assert np.abs(ours.astype(int) - pillow).mean() < 1.0


def grating(size: int, period: float) -> np.ndarray:
    wave = 127.5 + 127.5 * np.cos(2 * np.pi * np.arange(size) / period)
    return np.tile(np.rint(wave).astype(np.uint8), (size, 1))


@pytest.mark.parametrize("target", [32, 64, 100, 128, 224])
@pytest.mark.parametrize("period", [2.0, 2.2, 2.5])
def test_a_fine_grating_does_not_alias(target: int, period: float) -> None:
    """Stripes far finer than the output's pixels must become flat grey, not broad false stripes."""
    picture = grating(480, period)
    ours = resize(picture, target, target).astype(float)
    naive = cv2.resize(picture, (target, target), interpolation=cv2.INTER_LINEAR).astype(float)
    assert ours.std() < 0.30 * picture.std()
    assert ours.std() < max(0.5 * naive.std(), 6.0)


def test_enlarging_is_bilinear() -> None:
    ramp = np.arange(0, 250, 10, dtype=np.uint8)[None].repeat(25, 0)
    big = resize(ramp, 100, 100).astype(int)
    assert (np.diff(big, axis=1) >= 0).all()
    assert abs(big - cv2.resize(ramp, (100, 100), interpolation=cv2.INTER_LINEAR).astype(int)).max() <= 1


def test_right_size_is_left_alone() -> None:
    image = noise(40, 30)
    assert resize(image, 30, 40) is image


@pytest.mark.parametrize(("height", "width"), [(480, 640), (301, 211), (3, 40_000)])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_grey_in_bands_is_grey_by_the_definition(height: int, width: int, color: str) -> None:
    image = noise(height, width)
    weights = np.array(resample.LUMA if color == "rgb" else resample.LUMA[::-1], np.int64)
    assert np.array_equal(resample._gray_numpy(image, color), (image @ weights + (1 << 14)) >> 15)
