"""The choice for this board: accuracy gate, time, ties; locked, re-read and re-checked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from imago.edge_runtime.accuracy_gate import NO_GATE, judge, refusal
from imago.edge_runtime.errors import GateError, InputError
from imago.edge_runtime.spec import ModelSpec
from imago.edge_runtime.system import read_system
from imago.edge_runtime.tune import Accuracy, Candidate, TuneOptions, choose, tune
from imago.edge_runtime.tuned import read_tuned, write_tuned

import onnx_models
from support import imago


def spec(
    top1: float | None,
    *,
    n: int = 1000,
    split: str = "val",
    precision: str = "fp32",
    interval: tuple[float, float] | None = None,
    data: str = "bugs",
) -> ModelSpec:
    figures: tuple[Mapping[str, Any], ...] = ()
    if top1 is not None:
        figures = ({"split": split, "n": n, "top1": top1}, {"split": "other" + data, "n": 9, "top1": 0.1})
    calibration = {"drop": {"interval_points": list(interval)}} if interval else {}
    return onnx_models.spec_of(
        accuracy=figures, precision=precision, calibration=calibration, provenance={"dataset": data}
    )


def judged(**specs: ModelSpec) -> dict[str, Accuracy]:
    return {path.name: found for path, found in judge({Path(k): v for k, v in specs.items()}).items()}


def test_int8_is_held_against_its_own_fp32_by_pairs() -> None:
    found = judged(fp32=spec(0.90), int8=spec(0.899, precision="int8", interval=(-0.2, 0.4)))
    assert found["fp32"].worst == 0
    assert found["int8"].drop == pytest.approx(0.1)
    assert found["int8"].worst == pytest.approx(0.4)
    assert refusal(found["int8"], 0.5) == ""
    assert "too few" in refusal(found["int8"], 0.3)
    assert "loses" in refusal(found["int8"], 0.05)


def test_other_networks_cannot_be_paired() -> None:
    found = judged(big=spec(0.90), small=spec(0.899, data="other", interval=(-0.1, 0.1)))
    # Agresti and Caffo's interval of 0.001 with 1000 pictures each: ±2.64 points
    assert found["small"].worst == pytest.approx(2.74, abs=0.03)
    assert "too few" in refusal(found["small"], 0.5)


def test_figures_of_the_same_split_count() -> None:
    both = dataclasses.replace(
        spec(0.8), accuracy=({"split": "test", "n": 5, "top1": 0.99}, {"split": "val", "n": 100, "top1": 0.8})
    )
    found = judged(a=both, b=spec(0.7))
    assert (found["a"].split, found["a"].top1) == ("val", 0.8)
    with pytest.raises(InputError, match="different splits"):
        judged(a=spec(0.8, split="test"), b=spec(0.7, split="val", data="x"))


def test_unknown_accuracy_passes_no_gate() -> None:
    found = judged(a=spec(0.8), b=spec(None))
    assert refusal(found["b"], 5) != ""
    assert refusal(found["b"], NO_GATE) == ""
    assert judged(a=spec(None))["a"].top1 is None


def candidate(
    name: str, us: tuple[float, ...], *, threads: int = 1, top1: float = 0.9, refused: str = ""
) -> Candidate:
    return Candidate(
        Path(name), "0" * 64, "fp32", "onnxruntime", "1", threads, Accuracy(top1, "val", 100), us, refused
    )


def test_the_fastest_that_passes() -> None:
    slow, fast = candidate("slow", (200.0, 210, 205)), candidate("fast", (100.0, 101, 99))
    barred = candidate("barred", (50.0, 50, 50), refused="it loses 9 points")
    assert choose([slow, barred, fast]) is fast
    with pytest.raises(GateError, match="it loses 9 points"):
        choose([barred])


def test_equals_go_to_fewer_threads_then_to_accuracy() -> None:
    four = candidate("m", (100.0, 100, 100), threads=4)
    one = candidate("m", (101.0, 101.5, 99), threads=1)
    better = candidate("n", (101.0, 101, 101), threads=1, top1=0.95)
    assert choose([four, one]) is one
    assert choose([four, one, better]) is better
    assert choose([four, candidate("m", (110.0, 110, 110))]) is four


def test_a_choice_is_measured_locked_and_checked(tmp_path: Path) -> None:
    figures = ({"split": "val", "n": 1000, "top1": 0.9},)
    onnx_models.lenet(tmp_path / "m.onnx", onnx_models.spec_of(accuracy=figures))
    onnx_models.lenet(tmp_path / "worse.onnx", onnx_models.spec_of(accuracy=({**figures[0], "top1": 0.5},)))
    options = TuneOptions(threads=(1,), rounds=1, runs=2, warmup=0, frame=(64, 64))
    asked: list[str] = []
    tuning = tune([tmp_path / "m.onnx", tmp_path / "worse.onnx"], options, advance=asked.append)
    assert tuning.chosen.model == tmp_path / "m.onnx"
    assert asked == ["m.onnx × 1", "worse.onnx × 1"]
    assert [c.model.name for c in tuning.candidates if c.refused] == ["worse.onnx"]
    (tmp_path / "board").mkdir()
    target = tmp_path / "board" / "tune.json"
    data = write_tuned(target, tuning, max_drop=0.5)
    assert data["model"] == "../m.onnx"
    assert len(data["candidates"]) == 2
    tuned = read_tuned(target)
    assert (tuned.threads, tuned.check()) == (1, [])
    here = read_system()
    moved = dataclasses.replace(
        here, board="Raspberry Pi 5", versions={**here.versions, "onnxruntime": "0.1"}
    )
    words = tuned.check(moved)
    assert len(words) == 2
    assert "Raspberry Pi 5" in words[0]
    assert "0.1" in words[1]
    onnx_models.lenet(tmp_path / "m.onnx", seed=1)
    with pytest.raises(InputError, match="not the file that was measured"):
        tuned.check()
    (tmp_path / "m.onnx").unlink()
    with pytest.raises(InputError, match="is gone"):
        tuned.check()


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    onnx_models.lenet(tmp_path / "a.onnx")
    onnx_models.lenet(tmp_path / "b.onnx", onnx_models.spec_of(("x", "y")))
    with pytest.raises(InputError, match="different classes"):
        tune([tmp_path / "a.onnx", tmp_path / "b.onnx"])
    for wrong in ({"threads": (0,)}, {"rounds": 0}, {"max_drop": 101.0}):
        with pytest.raises(InputError):
            TuneOptions(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"tune_schema": 1, "threads": 0}', '{"tune_schema": 2, "threads": 1}']
)
def test_a_damaged_choice_is_one_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "tune.json").write_text(text)
    with pytest.raises(InputError, match="no choice of imago tune"):
        read_tuned(tmp_path / "tune.json")


def test_the_commands(tmp_path: Path) -> None:
    onnx_models.lenet(tmp_path / "m.onnx")
    choice = tmp_path / "tune.json"
    quick = ("--threads", "1", "--rounds", "1", "--runs", "2", "--out", str(choice))
    done = imago("tune", str(tmp_path / "m.onnx"), *quick)
    assert done.returncode == 0, done.stderr
    assert "←" in done.stdout
    data = json.loads(choice.read_text())
    choice.write_text(json.dumps({**data, "system": {**data["system"], "board": "Raspberry Pi 5"}}))
    run = ("run", "--tuned", str(choice), "--source", "synthetic", "--frames", "3")
    done = imago(*run)
    assert done.returncode == 0, done.stderr
    assert "measured elsewhere" in done.stderr
    for extra in ((str(tmp_path / "m.onnx"),), ("--threads", "2")):
        assert imago(*run, *extra).returncode == 2
    none = imago("run", "--source", "synthetic")
    assert none.returncode == 2
    assert len(none.stderr.splitlines()) == 1
