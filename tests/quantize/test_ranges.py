"""Statistics and ranges against numpy, brute force and ONNX Runtime's own calibrator."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from networks import network
from onnx import helper
from onnxruntime.quantization.calibrate import HistogramCollector

from imago.quantize.grid import Grid, hard_swish_grid, int_weights
from imago.quantize.ort_tools import open_session
from imago.quantize.ranges import METHODS, choose_range
from imago.quantize.statistics import BINS, TensorStatistics, collect

RNG = np.random.default_rng(3)
SAMPLES = {
    "normal": RNG.normal(0.3, 1, 60_000),
    "long tails": RNG.standard_t(3, 60_000),
    "after a relu": np.maximum(RNG.standard_t(4, 60_000), 0),
    "a gate": RNG.uniform(0.9, 1, 60_000),
}


def statistics(values: np.ndarray) -> TensorStatistics:
    low, high = float(values.min()), float(values.max())
    counts = np.histogram(values, BINS, (low, high))[0]
    return TensorStatistics(low, high, counts, np.array([values.mean()]))


def squared_error(values: np.ndarray, low: float, high: float) -> float:
    return float(((Grid.over(low, high).rounded(values) - values) ** 2).mean())


def test_statistics_are_those_of_the_tensors() -> None:
    """Every tensor of a real network, held whole, against what two passes collected."""
    model, images = network("lenet5")
    found = collect(model, images)
    fresh = onnx.ModelProto.FromString(model.SerializeToString())
    del fresh.graph.output[:]
    fresh.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in found)
    session = open_session(fresh, plain=True)
    whole = [session.run(list(found), {model.graph.input[0].name: row[None]}) for row in images]
    for k, (name, tensor) in enumerate(found.items()):
        values = np.concatenate([row[k] for row in whole])
        assert tensor.low == pytest.approx(values.min(), rel=1e-5, abs=1e-6), name
        assert tensor.high == pytest.approx(values.max(), rel=1e-5, abs=1e-6), name
        means = values.reshape(len(values), values.shape[1], -1).mean((0, 2))
        np.testing.assert_allclose(tensor.means, means, rtol=1e-4, atol=1e-5, err_msg=name)
        assert tensor.counts.sum() == values.size  # small maps enter whole
        edges = np.histogram(values, BINS, (tensor.low, tensor.high))[0]
        assert np.abs(np.cumsum(edges) - np.cumsum(tensor.counts)).max() <= 1 + 0.005 * values.size, name


@pytest.mark.parametrize("values", SAMPLES.values(), ids=SAMPLES)
def test_minmax_and_percentiles_are_numpys(values: np.ndarray) -> None:
    tensor = statistics(values)
    assert choose_range(tensor, "minmax") == (values.min(), values.max())
    bin_width = (tensor.high - tensor.low) / BINS
    for method, kept in (("percentile-99.9", 0.999), ("percentile-99.99", 0.9999)):
        low, high = choose_range(tensor, method)  # type: ignore[arg-type]
        tail = (1 - kept) / (1 if tensor.low >= 0 else 2)
        assert (values > high + bin_width).mean() <= tail + 1e-9
        assert (values >= high - 2 * bin_width).mean() >= tail - 1e-9
        if tensor.low >= 0:
            assert low == tensor.low
        else:
            assert (values < low - bin_width).mean() <= tail + 1e-9
            assert (values <= low + 2 * bin_width).mean() >= tail - 1e-9


@pytest.mark.parametrize("values", SAMPLES.values(), ids=SAMPLES)
def test_mse_finds_what_brute_force_finds(values: np.ndarray) -> None:
    limits = np.linspace(0.05, 1, 300) * np.abs(values).max()
    best = min(squared_error(values, max(values.min(), -x), min(values.max(), x)) for x in limits)
    got = squared_error(values, *choose_range(statistics(values), "mse"))
    assert got <= 1.05 * best
    assert got <= squared_error(values, float(values.min()), float(values.max())) * (1 + 1e-9)


def test_entropy_cuts_about_where_onnx_runtime_does() -> None:
    """Its collector knows symmetric ranges only, so that is what is compared; 128 levels on each side."""
    for values in (SAMPLES["long tails"], RNG.laplace(0, 1, 60_000)):
        collector = HistogramCollector("entropy", True, 2048, 255, 99.99, "same")
        collector.collect({"x": [values.astype(np.float32)]})
        reference = abs(float(collector.compute_collection_result()["x"][1]))
        _, high = choose_range(statistics(values), "entropy")
        largest = float(np.abs(values).max())
        assert high < 0.7 * largest  # the tail is cut …
        assert 0.4 * reference < high < 2.5 * reference  # … in the neighbourhood of the reference


@pytest.mark.parametrize("method", METHODS)
def test_odd_tensors_have_a_range_too(method: str) -> None:
    for values in (np.zeros(100), np.full(100, -2.5), SAMPLES["a gate"], np.array([0.0, 1e-12])):
        low, high = choose_range(statistics(values), method)  # type: ignore[arg-type]
        grid = Grid.over(low, high)
        assert grid.low <= 0 <= grid.high
        assert np.isfinite([grid.low, grid.high]).all()


def quantize_linear(values: np.ndarray, grid: Grid) -> np.ndarray:
    """What ONNX Runtime stores."""
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "q",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, values.shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.UINT8, values.shape)],
        [
            onnx.numpy_helper.from_array(np.array(grid.scale, np.float32), "s"),
            onnx.numpy_helper.from_array(np.array(grid.zero, np.uint8), "z"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    stored: np.ndarray = open_session(model).run(None, {"x": values})[0]
    return stored


@pytest.mark.parametrize("span", [(-1.7, 3.2), (0.0, 6.0), (-5.0, 0.0), (0.4, 0.9)])
def test_a_grid_rounds_as_the_engine_does(span: tuple[float, float]) -> None:
    grid = Grid.over(*span)
    values = RNG.normal(0, 3, 5000).astype(np.float32)
    stored = quantize_linear(values, grid).astype(np.int64)
    meant = (stored - grid.zero) * grid.scale
    np.testing.assert_allclose(meant, grid.rounded(values), atol=1.01 * grid.scale)
    assert (np.abs(meant - grid.rounded(values)) < 1e-6).mean() > 0.999  # float32 sees other ties
    assert grid.rounded(np.zeros(1))[0] == 0


@pytest.mark.parametrize("high", [0.5, 3.0, 7.3, 60.0, 4000.0])
def test_hard_swish_is_one_number_read_twice(high: float) -> None:
    """On its grid, x·clip(x/6 + 1/2) from stored integers alone is the function of the same x."""
    grid = hard_swish_grid(high)
    stored = np.arange(256)
    x = (stored - grid.zero) * grid.scale
    gate = np.minimum(stored, 2 * grid.zero) * (grid.scale / 6)
    np.testing.assert_allclose(x * gate, x * np.clip(x / 6 + 0.5, 0, 1), atol=1e-5 * max(1.0, high))
    assert grid.low == pytest.approx(-3)
    assert grid.high >= min(high, 60) - 1e-3 or grid.zero == 4  # beyond, −3 would have no place of its own


def test_weights_per_channel_lose_less() -> None:
    weight = RNG.normal(0, 1, (16, 8, 3, 3)) * np.geomspace(0.01, 1, 16)[:, None, None, None]
    rows, single = (int_weights(weight, per_channel=p) for p in (True, False))
    assert (rows.scales.shape, single.scales.shape) == ((16,), (1,))
    for whole in (rows, single):
        assert whole.values.dtype == np.int8
        assert np.abs(whole.values).max() == 127
    errors = [np.abs(whole.real - weight).reshape(16, -1).max(1) for whole in (rows, single)]
    np.testing.assert_array_less(errors[0], rows.scales / 2 + 1e-9)
    assert errors[0][0] < errors[1][0] / 20  # the quietest channel


def test_a_channel_that_is_switched_off_keeps_its_bias() -> None:
    """Weights of almost nothing and a bias: its int32 on the product of two tiny scales would not fit."""
    weight = RNG.normal(0, 0.1, (4, 3, 1, 1))
    weight[2] *= 1e-9
    whole = int_weights(weight, per_channel=True)
    assert np.abs(5.0 / (0.01 * whole.scales)).max() < 2**31
    assert np.abs(whole.real - weight).reshape(4, -1).max() <= whole.scales.max() / 2
