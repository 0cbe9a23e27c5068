"""Fake quantisation: ONNX Runtime's numbers, gradients worked out by hand and torch's own."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from imago.quantize.qat.fake import QuantisedBias, QuantisedWeight, Scale, fake_quantise


def onnx_round_trip(x: np.ndarray, scale: float, zero_point: np.generic) -> np.ndarray:
    """QuantizeLinear and DequantizeLinear in ONNX Runtime."""
    kind = TensorProto.UINT8 if zero_point.dtype == np.uint8 else TensorProto.INT8
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [None]),
            helper.make_tensor_value_info("q", kind, [None]),
        ],
        [
            numpy_helper.from_array(np.float32(scale), "s"),
            numpy_helper.from_array(np.asarray(zero_point), "z"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["y"], {"x": x})[0])


@pytest.mark.parametrize("zero_point", [np.uint8(0), np.uint8(117), np.int8(0), np.int8(-128)])
@pytest.mark.parametrize("scale", [0.25, 0.0173, 1.0])
def test_numbers_are_onnx_runtimes(zero_point: np.generic, scale: float) -> None:
    """Random numbers, exact ties (half to even) and numbers far outside."""
    rng = np.random.default_rng(0)
    ties = (np.arange(-300, 300) + 0.5) * np.float32(scale)
    x = np.concatenate([rng.normal(0, 100 * scale, 4000), ties, [1e9, -1e9, 0.0]]).astype(np.float32)
    info = np.iinfo(zero_point.dtype)
    low, high = float(info.min - int(zero_point)), float(info.max - int(zero_point))
    got = fake_quantise(torch.from_numpy(x), torch.tensor(scale), low, high).numpy()
    np.testing.assert_array_equal(got, onnx_round_trip(x, scale, zero_point))


def test_gradients_by_hand() -> None:
    """Scale ½, integers −2..3. Inside: 1 for x and round(v) − v for the scale; outside: 0 and the bound."""
    x = torch.tensor([0.6, -0.3, 1.7, -9.0, 4.0], requires_grad=True)  # v = 1.2, −0.6, 3.4, −18, 8
    scale = torch.tensor(0.5, requires_grad=True)
    y = fake_quantise(x, scale, -2, 3)
    assert y.tolist() == [0.5, -0.5, 1.5, -1.0, 1.5]
    y.backward(torch.tensor([1.0, 10.0, 100.0, 1000.0, 10000.0]))
    assert x.grad is not None and scale.grad is not None
    assert x.grad.tolist() == [1.0, 10.0, 100.0, 0.0, 0.0]
    by_hand = 1 * (1 - 1.2) + 10 * (-1 + 0.6) + 100 * (3 - 3.4) + 1000 * -2 + 10000 * 3
    assert scale.grad.item() == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("channels_last", [False, True])
def test_gradients_are_torchs(channels_last: bool) -> None:
    """Against torch's learnable fake quantisation; scale 1/16 so that both round alike."""
    torch.manual_seed(0)
    format = torch.channels_last if channels_last else torch.contiguous_format
    x = (torch.randn(3, 5, 4, 4) * 6).contiguous(memory_format=format)
    grad = torch.randn(3, 5, 4, 4)
    got = []
    for own in (True, False):
        a, s = x.clone().requires_grad_(), torch.tensor([1 / 16], requires_grad=True)
        if own:
            y = fake_quantise(a, s, -90, 165)
        else:
            y = torch._fake_quantize_learnable_per_tensor_affine(a, s, torch.tensor([90.0]), 0, 255, 1.0)
        y.backward(grad)
        assert a.grad is not None and s.grad is not None
        got.append((y.detach(), a.grad, s.grad))
    for mine, theirs in zip(*got, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_one_scale_per_channel_has_one_gradient_each() -> None:
    torch.manual_seed(1)
    w, scales = torch.randn(4, 3, 2, 2), torch.tensor([0.01, 0.02, 0.5, 1.0])
    together = scales.reshape(4, 1, 1, 1).clone().requires_grad_()
    fake_quantise(w, together, -127, 127).square().sum().backward()
    assert together.grad is not None
    for k in range(4):
        alone = scales[k].clone().requires_grad_()
        fake_quantise(w[k], alone, -127, 127).square().sum().backward()
        assert alone.grad is not None
        assert together.grad[k].item() == pytest.approx(alone.grad.item(), rel=1e-5)


def test_a_scale_starts_exactly_and_stays_below_its_ceiling() -> None:
    scale = Scale(np.float32(6 / 255), trainable=True, ceiling=float(np.float32(6 / 255)))
    assert scale().item() == np.float32(6 / 255)
    with torch.no_grad():
        scale.log_ratio.fill_(0.3)
    now = scale()
    assert now.item() == np.float32(6 / 255)
    now.backward()  # type: ignore[no-untyped-call]
    assert scale.log_ratio.grad is not None
    assert scale.log_ratio.grad.item() > 0  # so it can come down again
    with torch.no_grad():
        scale.log_ratio.fill_(-0.3)
    assert scale().item() == pytest.approx(6 / 255 * np.exp(-0.3))


def test_shadows_start_from_the_floats_only_where_these_round_to_what_is_stored() -> None:
    """Integers that were corrected after rounding (or belong to other weights altogether) stay."""
    rng = np.random.default_rng(0)
    near = rng.normal(0, 0.3, (8, 4)).astype(np.float32)
    scale = (np.abs(near).max(1, keepdims=True) / 127).astype(np.float32)
    integers = np.rint(near / scale).astype(np.int64)
    integers[2, 1] += 1
    integers[5] = rng.integers(-127, 128, 4)
    part = QuantisedWeight(integers, Scale(scale, trainable=True), near, (-127, 127))
    np.testing.assert_array_equal(part.integers(), integers)
    shadow = part.shadow().detach().numpy()
    np.testing.assert_allclose(np.delete(shadow, [2, 5], 0), np.delete(near, [2, 5], 0), rtol=1e-6)
    assert shadow[2, 1] == pytest.approx(integers[2, 1] * scale[2, 0])
    np.testing.assert_allclose(part().detach().numpy(), integers * scale, rtol=1e-6)


def test_a_bias_follows_the_scales_of_its_layer() -> None:
    inputs, weights = Scale(np.float32(0.02), trainable=True), Scale(np.full((3, 1), 0.01), trainable=True)
    near = np.array([0.5, -1.25, 0.00013], np.float32)
    part = QuantisedBias(np.rint(near / 0.0002).astype(np.int32), (inputs, weights), near)
    assert part.integers().tolist() == [2500, -6250, 1]
    with torch.no_grad():
        inputs.log_ratio.fill_(np.log(2))
    assert part.integers().tolist() == [1250, -3125, 0]
    np.testing.assert_allclose(part().detach().numpy(), [0.5, -1.25, 0.0], atol=1e-6)
    part().sum().backward()
    assert part.shadow.value.grad is not None
    assert (part.shadow.value.grad > 0).all()
