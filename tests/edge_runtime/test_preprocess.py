"""From frame to tensor: windows, colours, layouts; the cache's pixels are the board's tensor."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.edge_runtime.preprocess import Preprocessor, window
from imago.edge_runtime.spec import FITS, InputSpec
from imago.edge_runtime.types import Frame

import golden


def frame(width: int, height: int, color: str = "rgb", seed: int = 0) -> Frame:
    shape = (height, width) if color == "gray" else (height, width, 3)
    image = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return Frame(image, color)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((640, 480), (96, 16, 448, 448)),  # 2 × 224 covers 93 % of 480: exact halving
        ((240, 240), (8, 8, 224, 224)),  # the size itself covers 93 %: no resampling at all
        ((224, 224), (0, 0, 224, 224)),
        ((400, 300), (50, 0, 300, 300)),  # 224 is only 75 % of 300
        ((100, 50), (25, 0, 50, 50)),  # smaller than the input: enlarged
    ],
)
def test_center_crop_windows(size: tuple[int, int], wanted: tuple[int, int, int, int]) -> None:
    w = window(InputSpec(224, 224), *size)
    assert (w.left, w.top, w.width, w.height) == wanted


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(1, 80),
    st.integers(1, 80),
    st.sampled_from(FITS),
    st.sampled_from(["rgb", "bgr", "gray"]),
    st.sampled_from(["nchw", "nhwc"]),
    st.sampled_from(["rgb", "bgr", "gray"]),
)
def test_pixels_and_tensor_are_the_same_bytes(
    w: int, h: int, width: int, height: int, fit: str, color: str, layout: str, source: str
) -> None:
    spec = InputSpec(width, height, 1 if color == "gray" else 3, color, layout, fit)  # type: ignore[arg-type]
    preprocessor = Preprocessor(spec)
    picture = frame(w, h, source)
    pixels = preprocessor.pixels(picture)
    tensor = preprocessor.tensor(picture)
    assert pixels.shape == (height, width, spec.channels)
    assert tensor.shape == spec.shape
    assert tensor.dtype == np.uint8
    same = tensor[0].transpose(1, 2, 0) if layout == "nchw" else tensor[0]
    assert np.array_equal(pixels, same)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_rgb_and_bgr_frames_give_the_same_tensor(fit: str, layout: str) -> None:
    picture = frame(50, 40)
    mirrored = Frame(np.ascontiguousarray(picture.image[:, :, ::-1]), "bgr")
    for color, channels in (("rgb", 3), ("bgr", 3), ("gray", 1)):
        spec = InputSpec(32, 32, channels, color, layout, fit)  # type: ignore[arg-type]
        p = Preprocessor(spec)
        assert np.array_equal(p.tensor(picture), p.tensor(mirrored))


def test_letterbox_keeps_the_whole_frame() -> None:
    white = Frame(np.full((50, 100), 255, np.uint8), "gray")
    pixels = Preprocessor(InputSpec(40, 40, 1, "gray", fit="letterbox", pad=7)).pixels(white)[:, :, 0]
    assert (pixels[:10] == 7).all()
    assert (pixels[10:30] == 255).all()
    assert (pixels[30:] == 7).all()


def test_foreign_float_models_get_mean_and_std() -> None:
    spec = InputSpec(8, 8, 3, "rgb", "nchw", dtype="float32", mean=(10, 20, 30), std=(2, 4, 5))
    picture = frame(8, 8)
    wanted = (picture.image.astype(np.float32) - [10, 20, 30]) / [2, 4, 5]
    got = Preprocessor(spec).tensor(picture)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got[0], wanted.transpose(2, 0, 1), rtol=1e-6)


def test_out_is_reused() -> None:
    preprocessor = Preprocessor(InputSpec(16, 16))
    out = np.zeros((1, 3, 16, 16), np.uint8)
    assert preprocessor.tensor(frame(20, 20), out) is out


def test_golden_bytes() -> None:
    """Pinned: these bytes are part of every trained model. A change needs a new name than imago-1."""
    assert golden.digest() == golden.GOLDEN


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_nothing_of_a_frame_is_left_in_the_next(fit: str, layout: str, dtype: str) -> None:
    """One preprocessor, one tensor; frames of several shapes and colours, as a reopened camera gives."""
    spec = InputSpec(16, 12, 3, "rgb", layout, fit, dtype=dtype)  # type: ignore[arg-type]
    one, out = Preprocessor(spec), np.zeros(spec.shape, spec.dtype)
    for seed, (w, h, color) in enumerate(
        [(40, 70, "rgb"), (40, 70, "rgb"), (40, 70, "bgr"), (40, 70, "gray")] * 2
    ):
        picture = frame(w + (seed > 3), h, color, seed)
        fresh = Preprocessor(spec)
        assert np.array_equal(one.tensor(picture, out), fresh.tensor(picture))
        assert np.array_equal(one.pixels(picture), fresh.pixels(picture))


def test_pixels_are_memory_of_their_own() -> None:
    """The training cache keeps them."""
    preprocessor = Preprocessor(InputSpec(16, 16))
    first = preprocessor.pixels(frame(64, 64, seed=1))
    kept = first.copy()
    preprocessor.pixels(frame(64, 64, seed=2))
    preprocessor.tensor(frame(64, 64, seed=3))
    assert np.array_equal(first, kept)
