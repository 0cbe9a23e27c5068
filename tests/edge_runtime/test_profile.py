"""Time by operator, from onnxruntime's own trace of real inferences."""

from __future__ import annotations

from pathlib import Path

import pytest

from imago.edge_runtime.errors import InputError, ModelError
from imago.edge_runtime.profile import WARMUP, profile, summarise

import onnx_models


def test_every_operator_is_there(tmp_path: Path) -> None:
    spec = onnx_models.lenet(tmp_path / "m.onnx")
    found = profile(tmp_path / "m.onnx", spec.input, runs=10)
    kinds = {operator.name: operator for operator in found.kinds}
    assert sum(operator.calls for name, operator in kinds.items() if "Conv" in name) == 2
    assert sum(operator.share for operator in found.kinds) == pytest.approx(1, abs=0.01)
    assert sum(operator.us for operator in found.nodes) == pytest.approx(found.us, rel=0.01)
    assert [o.us for o in found.kinds] == sorted((o.us for o in found.kinds), reverse=True)
    assert not list(tmp_path.glob("*.json"))


def test_the_sum_of_a_trace() -> None:
    def event(name: str, kind: str, us: int) -> dict[str, object]:
        return {"cat": "Node", "name": f"{name}_kernel_time", "dur": us, "args": {"op_name": kind}}

    runs = [event("a", "Conv", 1000)] * WARMUP + [event("a", "Conv", 30)] * 4
    events = [*runs, *[event("b", "Relu", 10)] * (WARMUP + 4), {"cat": "Session", "name": "x", "dur": 9}]
    found = summarise(events, 4)
    assert [(o.name, o.calls, o.us, o.share) for o in found.kinds] == [
        ("Conv", 1, 30, 0.75),
        ("Relu", 1, 10, 0.25),
    ]
    assert found.us == 40
    assert summarise([], 4).kinds == ()


def test_other_files(tmp_path: Path) -> None:
    spec = onnx_models.spec_of()
    with pytest.raises(InputError, match="no profiler"):
        profile(tmp_path / "m.tflite", spec.input)
    (tmp_path / "bad.onnx").write_bytes(b"bad")
    with pytest.raises(ModelError, match="cannot be profiled"):
        profile(tmp_path / "bad.onnx", spec.input)
