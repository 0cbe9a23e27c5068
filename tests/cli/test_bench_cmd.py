"""``imago bench`` in a real process."""

from __future__ import annotations

import json
from pathlib import Path

import onnx_models
from support import imago


def test_bench_writes_json_and_drawing(tmp_path: Path) -> None:
    onnx_models.lenet(tmp_path / "m.onnx")
    plot = tmp_path / "bench.svg"
    done = imago(
        "bench",
        str(tmp_path / "m.onnx"),
        "--runs",
        "5",
        "--warmup",
        "1",
        "--processes",
        "1",
        "--json",
        "-",
        "--plot",
        str(plot),
    )
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["p50_us"] > 0
    assert data["threads"] == 1
    assert plot.read_text(encoding="utf-8").startswith("<svg")
    assert "preprocess" in done.stderr


def test_bench_of_a_foreign_model_and_of_none(tmp_path: Path) -> None:
    onnx_models.brightness(tmp_path / "f.onnx")
    done = imago(
        "bench",
        str(tmp_path / "f.onnx"),
        "--labels",
        "2",
        "--runs",
        "2",
        "--processes",
        "1",
        "--no-memory",
        "--json",
        "-",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["peak_rss_mb"] is None
    (tmp_path / "bad.onnx").write_bytes(b"bad")
    for name in ("none.onnx", "bad.onnx", "f.onnx"):
        done = imago("bench", str(tmp_path / name))
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1


def test_bench_compares_with_an_earlier_run(tmp_path: Path) -> None:
    onnx_models.lenet(tmp_path / "m.onnx")
    model, old = str(tmp_path / "m.onnx"), tmp_path / "old.json"
    quick = ("--runs", "8", "--warmup", "1", "--processes", "4", "--no-memory")
    assert imago("bench", model, *quick, "--json", str(old)).returncode == 0
    data = json.loads(old.read_text())
    scaled = {name: [v / 1e6 for v in values] for name, values in data["process_p50_us"].items()}
    old.write_text(json.dumps({**data, "process_p50_us": scaled}))
    done = imago("bench", model, *quick, "--compare", str(old), "--json", "-")
    assert done.returncode == 1, done.stderr
    stages = {row["stage"]: row for row in json.loads(done.stdout)["comparison"]["stages"]}
    assert stages["total"]["verdict"] == "slower"
    old.write_text("[]")
    for path in (old, tmp_path / "none.json"):
        done = imago("bench", model, *quick, "--compare", str(path))
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
