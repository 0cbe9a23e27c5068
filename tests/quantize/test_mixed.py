"""Sensitivities and mixed precision on a network with one layer that int8 ruins by construction."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import answers, network

from imago.quantize.kernels import kernels
from imago.quantize.mixed import mixed, ranked
from imago.quantize.onnx_view import View, label
from imago.quantize.plan import weighted_nodes
from imago.quantize.ptq import Candidate, divergence, quantise
from imago.quantize.sensitivity import LayerSensitivity, island, sensitivities, sqnr_db
from imago.quantize.sensitivity_chart import write_sensitivity_chart
from imago.quantize.weight_only import with_int8_weights

OUTLIER = 600.0  # times the largest weight


def spoiled() -> onnx.ModelProto:
    """LeNet-5 whose second convolution has one huge weight per output on an input channel that is always 0:
    the same function, but nothing of its other weights survives in int8."""
    view = View(network("lenet5")[0])
    first, second = [n for n in weighted_nodes(view) if n.op_type == "Conv"][:2]
    for name in first.input[1:]:
        values = view.constants[name].copy()
        values[0] = 0
        view.set_constant(name, values)
    weight = view.constants[second.input[1]].copy()
    weight[:, 0] = OUTLIER * np.abs(weight).max()
    view.set_constant(second.input[1], weight)
    return view.model


@cache
def found() -> tuple[Candidate, tuple[LayerSensitivity, ...]]:
    images = network("lenet5")[1]
    candidate = quantise(spoiled(), images[:12], images[12:])
    return candidate, sensitivities(candidate, images[12:])


def second_convolution() -> str:
    convs = [n for n in weighted_nodes(View(network("lenet5")[0])) if n.op_type == "Conv"]
    return label(convs[1])


def test_the_spoiled_layer_is_the_most_sensitive() -> None:
    candidate, layers = found()
    assert len(layers) == len(weighted_nodes(candidate.network.view))
    worst = max(layers, key=lambda layer: layer.alone)
    assert worst.label == second_convolution()
    assert worst is min(layers, key=lambda layer: layer.sqnr_db)
    assert worst is max(layers, key=lambda layer: layer.gain)
    assert ranked(layers)[0] is worst
    others = sorted((layer.alone for layer in layers if layer is not worst), reverse=True)
    assert worst.alone > 10 * others[0]


def test_mixed_precision_keeps_it_float_and_passes() -> None:
    candidate, layers = found()
    images = network("lenet5")[1]
    wanted = answers(spoiled(), images)

    def agrees(made: Candidate) -> bool:
        return divergence(wanted, answers(made.model, images)) < 0.01

    assert not agrees(candidate)
    mended = mixed(candidate, layers, images[12:], agrees)
    assert mended is not None
    assert agrees(mended)
    kept = [label(n) for n in weighted_nodes(candidate.network.view) if n.name in mended.floats]
    assert kept == [second_convolution()]
    assert "1 of 5 layers float" in mended.scheme
    floats = [name for kind, name in kernels(mended.model).floats if "Conv" in kind]
    assert floats == [second_convolution()]


def test_what_cannot_be_mended_is_given_up() -> None:
    candidate, layers = found()
    seen: list[int] = []

    def never(made: Candidate) -> bool:
        seen.append(len(made.floats))
        return False

    assert mixed(candidate, layers, network("lenet5")[1][12:], never) is None
    assert len(seen) == 2  # half of five layers
    assert seen == sorted(seen)


def test_a_layer_alone_in_int8_is_measured_with_its_neighbourhood() -> None:
    view = View(network("lenet5")[0])
    nodes = {n.name: n for n in view.graph.node}
    second = [n for n in weighted_nodes(view) if n.op_type == "Conv"][1]
    kinds = {nodes[name].op_type for name in island(view, second)}
    assert "Conv" in kinds
    assert kinds & {"Relu", "MaxPool"}
    assert sum(nodes[name].op_type in ("Conv", "Gemm") for name in island(view, second)) == 1


def test_sqnr_is_that_of_the_logits() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (50, 6))
    noise = rng.normal(0, 0.02, logits.shape)
    logits -= logits.mean(1, keepdims=True)
    noise -= noise.mean(1, keepdims=True)
    first, second = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (logits, logits + noise))
    wanted = 10 * np.log10((logits**2).sum() / (noise**2).sum())
    assert sqnr_db(first.astype(np.float32), second.astype(np.float32)) == pytest.approx(wanted, abs=0.1)


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    write_sensitivity_chart(tmp_path / "s.png", found()[1], "LeNet-5")
    assert (tmp_path / "s.png").stat().st_size > 5000
    assert b"<svg" in (tmp_path / "s.svg").read_bytes()[:500]


def test_int8_weights_answer_like_the_float_network() -> None:
    source, images = network("mobilenet_v3_small")
    model = with_int8_weights(source)
    assert model.ByteSize() < 0.4 * source.ByteSize()
    report = kernels(model)
    assert report.integer == 0
    assert report.conversions == 0
    kinds = [Counter(kind for kind, _ in r.floats) for r in (report, kernels(source))]
    assert kinds[0] == kinds[1]  # the kernels of the float file, and nothing else
    assert (answers(model, images).argmax(1) == answers(source, images).argmax(1)).mean() > 0.9
