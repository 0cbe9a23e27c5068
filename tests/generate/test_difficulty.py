"""The generated problem must need a network: neither raw pixels nor colours may decide it linearly."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from imago.train.generate.insects import CLASSES, draw_photo

TRAIN, TEST, SIDE = 60, 25, 64
Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def photos(count: int, split: int) -> tuple[npt.NDArray[np.uint8], Labels]:
    labels = np.repeat(np.arange(len(CLASSES)), count)
    rngs = (np.random.default_rng([11, split, i]) for i in range(len(labels)))
    return np.stack([draw_photo(CLASSES[y], rng, SIDE) for y, rng in zip(labels, rngs, strict=True)]), labels


@pytest.fixture(scope="module")
def problem() -> tuple[npt.NDArray[np.uint8], Labels, npt.NDArray[np.uint8], Labels]:
    return *photos(TRAIN, 0), *photos(TEST, 1)


def with_one(x: Floats) -> Floats:
    return np.hstack([x, np.ones((len(x), 1), np.float32)])


def softmax_regression(x: Floats, y: Labels, *, decay: float, steps: int = 200) -> Floats:
    """Weights (features + 1, classes) of multinomial logistic regression, by momentum descent."""
    x = with_one(x)
    target = np.eye(len(CLASSES), dtype=np.float32)[y]
    weights = np.zeros((x.shape[1], len(CLASSES)), np.float32)
    speed = np.zeros_like(weights)
    for _ in range(steps):
        scores = x @ weights
        p = np.exp(scores - scores.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        speed = 0.9 * speed - 0.1 * (x.T @ (p - target) / len(x) + decay * weights)
        weights += speed
    return weights


def pixels(pictures: npt.NDArray[np.uint8]) -> Floats:
    small = np.stack([cv2.resize(p, (32, 32), interpolation=cv2.INTER_AREA) for p in pictures])
    return (small.reshape(len(small), -1) - np.float32(118)) / np.float32(15 * np.sqrt(small[0].size))


def histogram(pictures: npt.NDArray[np.uint8]) -> Floats:
    """Root of the 4×4×4 colour histogram: distances between roots are Hellinger distances."""
    bins = (pictures // 64).astype(np.int64) @ np.array([16, 4, 1])
    return np.sqrt(np.stack([np.bincount(b.ravel(), minlength=64) / b.size for b in bins])).astype(np.float32)


@pytest.mark.parametrize("decay", [0.001, 0.03])
def test_a_linear_model_on_pixels_fails(
    problem: tuple[npt.NDArray[np.uint8], Labels, npt.NDArray[np.uint8], Labels], decay: float
) -> None:
    train, y, test, truth = problem
    weights = softmax_regression(pixels(train), y, decay=decay)
    guess = with_one(pixels(test)) @ weights
    assert (guess.argmax(1) == truth).mean() < 0.45


def test_colours_alone_do_not_tell(
    problem: tuple[npt.NDArray[np.uint8], Labels, npt.NDArray[np.uint8], Labels],
) -> None:
    train, y, test, truth = problem
    known, asked = histogram(train), histogram(test)
    nearest = (asked @ known.T).argmax(1)
    assert (y[nearest] == truth).mean() < 0.45
    weights = softmax_regression(known * 3, y, decay=0.001)
    guess = with_one(asked * 3) @ weights
    assert (guess.argmax(1) == truth).mean() < 0.5


def test_the_linear_model_of_this_test_can_learn_what_is_linear() -> None:
    """The test above would pass with a broken classifier; on bars at six heights it must not."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(len(CLASSES)), 20)
    blocks = np.zeros((len(CLASSES), 32, 32, 3), np.int64)
    for label in range(len(CLASSES)):
        blocks[label, 5 * label : 5 * label + 5] = 60
    bright = (blocks[y] + rng.integers(0, 120, (len(y), 32, 32, 3))).astype(np.uint8)
    weights = softmax_regression(pixels(bright), y, decay=0.0001)
    guess = with_one(pixels(bright)) @ weights
    assert (guess.argmax(1) == y).mean() > 0.9
