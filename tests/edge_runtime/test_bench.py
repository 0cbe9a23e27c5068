"""Figures: percentiles against numpy, what a report holds, what is said about the board, the drawing."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imago.edge_runtime.bench import BenchOptions, bench, interleaved
from imago.edge_runtime.engines.select import load_engine
from imago.edge_runtime.errors import InputError, ModelError
from imago.edge_runtime.foreign import ForeignOptions, foreign_spec
from imago.edge_runtime.memory import measure_memory
from imago.edge_runtime.plot import _curve, bench_svg
from imago.edge_runtime.stats import LatencyHistogram, Percentiles
from imago.edge_runtime.sustained import Sample, Sustained
from imago.edge_runtime.system import Condition, read_condition, read_system, throttle_words

import onnx_models


def test_histogram_is_within_one_percent_of_numpy() -> None:
    durations = (np.random.default_rng(0).lognormal(13, 1.5, 5000)).astype(np.int64)
    histogram = LatencyHistogram()
    for duration in durations:
        histogram.add(int(duration))
    for q in (0, 10, 50, 90, 99, 100):
        assert histogram.percentile(q) == pytest.approx(
            np.percentile(durations / 1e3, q, method="lower"), rel=0.011
        )
    summary = histogram.summary()
    assert summary is not None
    assert summary.n == 5000
    assert summary.max_us == pytest.approx(durations.max() / 1e3, abs=0.1)


def test_histogram_at_its_ends() -> None:
    histogram = LatencyHistogram()
    assert histogram.summary() is None
    for duration in (0, 1, 10**18):
        histogram.add(duration)
    assert histogram.percentile(0) <= 1
    assert math.isfinite(histogram.percentile(100))


def test_percentiles_are_numpys() -> None:
    values = [5000, 1000, 2000, 4000, 3000]
    found = Percentiles.of(values)
    assert (found.n, found.min_us, found.p50_us, found.max_us) == (5, 1.0, 3.0, 5.0)
    assert found.p90_us == pytest.approx(4.6)


def test_interleaved_takes_turns() -> None:
    calls: list[str] = []
    times = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, runs=3, warmup=1)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}


def test_report_holds_what_a_reader_needs(tmp_path: Path) -> None:
    accuracy = ({"split": "test", "n": 100, "accuracy": 0.9},)
    onnx_models.lenet(tmp_path / "m.onnx", onnx_models.spec_of(accuracy=accuracy))
    report = bench(tmp_path / "m.onnx", BenchOptions(runs=5, warmup=1, processes=2, frame=(160, 120)))
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["n"] == 5
    assert data["p50_us"] == data["stages"]["total"]["p50_us"]
    steps = {"capture", "preprocess", "engine", "decide", "sink"}
    assert set(data["stages"]) == steps | {"total", "loop"}
    assert all(len(values) == 2 for values in data["process_p50_us"].values())
    assert data["stages"]["loop"]["min_us"] >= sum(data["stages"][name]["min_us"] for name in steps)
    assert (data["source"], data["sweep"], data["sustained"], data["profile"]) == ("memory", [], None, None)
    assert data["accuracy"] == list(accuracy)
    assert (data["frame"], data["frame_color"], data["threads"]) == ([160, 120], "gray", 1)
    assert len(data["sha256"]) == 64
    assert data["system"]["versions"]["onnxruntime"]
    assert data["peak_rss_mb"] is None or 20 < data["peak_rss_mb"] < 500
    assert all(0 < ms < 60_000 for ms in data["start_to_first_ms"])
    drawing = bench_svg(report)
    root = ET.fromstring(drawing)  # noqa: S314  our own drawing
    texts = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert any("p99" in text for text in texts)


def test_thread_counts_are_measured_in_turns(tmp_path: Path) -> None:
    onnx_models.lenet(tmp_path / "m.onnx")
    options = BenchOptions(runs=2, warmup=0, others=(2, 1), processes=1, memory=False, profile=True)
    done: list[None] = []
    report = bench(tmp_path / "m.onnx", options, advance=lambda: done.append(None))
    assert {count: row.n for count, row in report.sweep.items()} == {1: 2, 2: 2}
    assert report.sweep[1] == report.stages["total"]
    assert len(done) == 2
    assert report.profile is not None
    assert report.memory is None


def test_pictures_from_a_real_source(tmp_path: Path) -> None:
    onnx_models.lenet(tmp_path / "m.onnx")
    rng = np.random.default_rng(0)
    for name in "ab":  # shorter than the bench: it starts again
        Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    options = BenchOptions(runs=6, warmup=1, processes=1, memory=False, source=str(tmp_path))
    report = bench(tmp_path / "m.onnx", options)
    assert "2 pictures" in report.source
    assert report.stages["capture"].n == 6


def test_a_long_run_is_a_curve(tmp_path: Path) -> None:
    onnx_models.lenet(tmp_path / "m.onnx")
    options = BenchOptions(runs=2, warmup=0, processes=1, memory=False, minutes=0.04)
    report = bench(tmp_path / "m.onnx", options)
    run = report.sustained
    assert run is not None
    assert run.finished
    assert [s.time_s for s in run.samples] == sorted(s.time_s for s in run.samples)
    assert run.samples[-1].time_s >= 2.4
    assert run.slowdown > 0
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))["sustained"]
    assert {"time_s", "p50_us", "p99_us", "temperature_c", "clock_mhz", "throttled"} <= set(
        data["samples"][0]
    )
    assert ET.fromstring(bench_svg(report)) is not None  # noqa: S314  our own drawing


def test_heat_is_drawn() -> None:
    def sample(k: int) -> Sample:
        hot = ("throttled", "throttling has occurred") if k == 3 else ("throttling has occurred",)
        return Sample(float(k), Percentiles.of([1000 * k, 2000 * k]), Condition(40.0 + 10 * k, 1500.0, hot))

    drawing = "".join(_curve(Sustained(0.1, tuple(sample(k) for k in range(1, 5)), True)))
    root = ET.fromstring(f"<svg>{drawing}</svg>")  # noqa: S314  our own drawing
    assert [len((e.get("points") or "").split()) for e in root.iter("polyline")] == [4, 4, 4]
    assert drawing.count("v6") == 1  # throttled in one stretch; "has occurred" is history


def test_bench_of_a_model_without_contract(tmp_path: Path) -> None:
    onnx_models.brightness(tmp_path / "f.onnx")
    spec, _ = foreign_spec(load_engine(tmp_path / "f.onnx"), ForeignOptions(labels_count=2))
    report = bench(tmp_path / "f.onnx", BenchOptions(runs=2, warmup=0, processes=1), spec=spec)
    assert report.memory is not None
    assert report.frame_color == "bgr"
    with pytest.raises(ModelError, match="carries no contract"):
        bench(tmp_path / "f.onnx")


def test_drawing_of_equal_and_escaped_values(tmp_path: Path) -> None:
    onnx_models.lenet(tmp_path / "a&b<c>.onnx")
    report = bench(tmp_path / "a&b<c>.onnx", BenchOptions(runs=1, warmup=0, memory=False))
    ET.fromstring(bench_svg(report))  # noqa: S314  our own drawing


def test_the_process_that_measures_memory_may_fail(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"bad")
    with pytest.raises(ModelError, match="process that measures failed"):
        measure_memory(tmp_path / "bad.onnx", size=(32, 32))


def test_impossible_options() -> None:
    for options in ({"runs": 0}, {"warmup": -1}, {"threads": 0}, {"others": (0,)}, {"processes": 101}):
        with pytest.raises(InputError):
            BenchOptions(**options)


def test_a_board_is_described_from_its_files(tmp_path: Path) -> None:
    files = {
        "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
        "proc/cpuinfo": "processor\t: 0\nCPU part\t: 0xd08\n",
        "proc/meminfo": "MemTotal:        3884372 kB\n",
        "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1800000\n",
        "sys/class/thermal/thermal_zone0/temp": "61342\n",
        "sys/class/thermal/thermal_zone1/temp": "odd\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    system = read_system(tmp_path)
    assert (system.board, system.cpu) == ("Raspberry Pi 4 Model B Rev 1.4", "Cortex-A72")
    assert (system.memory_mb, system.governor) == (3793, "ondemand")
    assert system.os == "Debian GNU/Linux 12 (bookworm)"
    condition = read_condition(tmp_path)
    assert (condition.temperature_c, condition.clock_mhz) == (61.342, 1800.0)


def test_nothing_there_is_nothing_said(tmp_path: Path) -> None:
    system = read_system(tmp_path)
    assert system.board is None
    assert system.cpu
    assert read_condition(tmp_path).temperature_c is None


def test_throttle_bits() -> None:
    assert throttle_words("throttled=0x0") == ()
    assert throttle_words("throttled=0x50005") == (
        "under-voltage",
        "throttled",
        "under-voltage has occurred",
        "throttling has occurred",
    )
    for odd in (None, "", "error", "throttled=0xzz"):
        assert throttle_words(odd) is None
