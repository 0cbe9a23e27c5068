"""Passes over TFLite networks: what they compute stays the same, and what they promise is gone is gone."""

from __future__ import annotations

import numpy as np
import pytest

from imago.edge_runtime.engines.litert import LiteRtEngine
from imago.export.tflite_graph import Network
from imago.export.tflite_passes import fold_input_gain, pad_with_zeros, simplify
from imago.quantize.tflite_passes import (
    absorb_scalars,
    decompose_hard_swish,
    float_core,
    float_operators,
    uint8_front,
)

from tflite_models import Builder, quantised_means

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (5, 1, 6, 6, 3), np.uint8)
BORDER = np.array([[0, 0], [1, 1], [1, 1], [0, 0]])


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(0, 0.3, shape).astype(np.float32)


def network(
    *, activation: int = 0, after: str = "HARD_SWISH", gate: bool = False, unwanted: bool = False
) -> bytes:
    """uint8 picture → normalisation → padded convolution → ``after`` → mean → fully connected.

    gate: scale the channels by a half between, as squeeze-and-excite does. unwanted: let the network put out
    what ``after`` computes as well, so that no factor may be taken from it.
    """
    b = Builder()
    image = b.tensor((1, 6, 6, 3), "UINT8")
    pixels = b.op("CAST", [image], b.tensor((1, 6, 6, 3)))
    gain = b.tensor((1, 1, 1, 3), values=np.array([0.02, 0.01, 0.03]))
    offset = b.tensor((1, 1, 1, 3), values=np.array([-2.0, -1.5, 0.5]))
    scaled = b.op("MUL", [pixels, gain], b.tensor((1, 6, 6, 3)))
    shifted = b.op("ADD", [scaled, offset], b.tensor((1, 6, 6, 3)))
    border = b.tensor((4, 2), "INT32", BORDER)
    padded = b.op("PAD", [shifted, border], b.tensor((1, 8, 8, 3)))
    kernel, bias = b.tensor((4, 3, 3, 3), values=normal(4, 3, 3, 3)), b.tensor((4,), values=normal(4))
    x = b.op(
        "CONV_2D",
        [padded, kernel, bias],
        b.tensor((1, 6, 6, 4)),
        padding=1,
        strideW=1,
        strideH=1,
        fusedActivationFunction=activation,
    )
    if after == "HARD_SWISH":
        x = b.op("HARD_SWISH", [x], b.tensor((1, 6, 6, 4)))
    elif after == "PADV2":
        low = b.tensor((), values=np.float32(-np.inf))
        x = b.op("PADV2", [x, border, low], b.tensor((1, 8, 8, 4)))
        pooled = b.tensor((1, 4, 4, 4))
        x = b.op("MAX_POOL_2D", [x], pooled, padding=1, strideW=2, strideH=2, filterWidth=2, filterHeight=2)
    if gate:
        x = b.op("MUL", [x, b.tensor((), values=np.float32(0.5))], b.tensor((1, 6, 6, 4)))
    means = b.op("MEAN", [x, b.tensor((2,), "INT32", (1, 2))], b.tensor((1, 4)))
    head, biases = b.tensor((3, 4), values=normal(3, 4)), b.tensor((3,), values=normal(3))
    logits = b.op("FULLY_CONNECTED", [means, head, biases], b.tensor((1, 3)))
    return b.finish([image], [logits, x] if unwanted else [logits])


def answers(data: bytes, pictures: np.ndarray = PICTURES) -> np.ndarray:
    engine = LiteRtEngine(data)
    return np.stack([engine.run(picture) for picture in pictures])


def test_gain_of_the_input_goes_into_the_first_convolution() -> None:
    before = network()
    changed = Network(before)
    fold_input_gain(changed)
    assert changed.kinds()[:4] == ["CAST", "ADD", "PAD", "CONV_2D"]
    np.testing.assert_allclose(answers(changed.to_bytes()), answers(before), atol=1e-5)


def test_padding_with_minus_infinity_after_relu_becomes_zeros() -> None:
    for activation, wanted in ((1, "PAD"), (0, "PADV2")):
        before = network(activation=activation, after="PADV2")
        changed = Network(before)
        pad_with_zeros(changed)
        assert changed.kinds().count(wanted) > (wanted == "PAD")
        np.testing.assert_allclose(answers(changed.to_bytes()), answers(before), atol=1e-6)


def test_simplify_leaves_no_traces_and_the_same_bytes_twice() -> None:
    first, second = Network(network()), Network(network())
    for one in (first, second):
        simplify(one)
    assert first.to_bytes() == second.to_bytes()
    assert first.name(first.input) == "image"
    assert first.name(first.output) == "probabilities"
    assert b"test" not in first.to_bytes()


@pytest.mark.parametrize("gate", [True, False])
def test_hard_swish_in_parts_computes_the_same_and_its_sixth_is_absorbed(gate: bool) -> None:
    before = Network(network(gate=gate))
    float_core(before)
    wanted = answers(before.to_bytes(), PICTURES.astype(np.float32))
    decompose_hard_swish(before)
    assert "HARD_SWISH" not in before.kinds()
    products = before.kinds().count("MUL")
    np.testing.assert_allclose(
        answers(before.to_bytes(), PICTURES.astype(np.float32)), wanted, rtol=1e-4, atol=1e-5
    )
    absorb_scalars(before)
    assert before.kinds().count("MUL") == products - 1 - gate
    np.testing.assert_allclose(
        answers(before.to_bytes(), PICTURES.astype(np.float32)), wanted, rtol=1e-4, atol=1e-5
    )


def test_a_factor_that_somebody_else_sees_stays() -> None:
    before = Network(network(gate=True, unwanted=True))
    products = before.kinds().count("MUL")
    absorb_scalars(before)
    assert before.kinds().count("MUL") == products


def test_uint8_in_front_of_int8_changes_nothing() -> None:
    before = quantised_means("INT8")
    changed = Network(before)
    uint8_front(changed)
    pictures = RNG.integers(0, 256, (5, 1, 4, 4, 3), np.uint8)
    engine = LiteRtEngine(changed.to_bytes())
    assert engine.native_dtype == "uint8"
    np.testing.assert_array_equal(answers(changed.to_bytes(), pictures), answers(before, pictures))
    assert float_operators(changed) == {}
    assert float_operators(Network(network())) == {
        "MUL": 1,
        "ADD": 1,
        "PAD": 1,
        "CONV_2D": 1,
        "HARD_SWISH": 1,
        "MEAN": 1,
        "FULLY_CONNECTED": 1,
    }
