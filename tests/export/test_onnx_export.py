"""Export against torch: the same answers, a complete contract, no traces of the machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.engines.ort import OrtEngine
from imago.edge_runtime.errors import GateError
from imago.edge_runtime.spec import InputSpec, ModelSpec
from imago.edge_runtime.types import Frame
from imago.export.onnx_export import Deployable, engine_probabilities, export_onnx, torch_probabilities
from imago.export.predict_script import predict_script
from imago.export.verify import compare
from imago.train.models.registry import build_model

CASES = {
    "lenet5": (InputSpec(32, 32, 1, "gray"), 10),
    "mobilenet_v3_small": (InputSpec(64, 64), 6),
    "resnet18": (InputSpec(64, 64), 3),
}


def ready(name: str) -> tuple[Deployable, ModelSpec, np.ndarray]:
    """A network with random weights and lively statistics, its contract, and a few pictures."""
    inputs, classes = CASES[name]
    torch.manual_seed(0)
    built = build_model(name, classes, channels=inputs.channels, size=inputs.size)
    images = np.random.default_rng(0).integers(0, 256, (12, inputs.height, inputs.width, inputs.channels))
    module = built.module.train()
    with torch.no_grad():  # BatchNorm statistics that are not 0 and 1
        for _ in range(3):
            module(torch.randn(8, inputs.channels, inputs.height, inputs.width))
    deployable = Deployable(module.eval(), inputs.channels, built.mean, built.std, 1.3).eval()
    spec = ModelSpec(labels=tuple(f"class {k}" for k in range(classes)), input=inputs, name=name)
    return deployable, spec, images.astype(np.uint8)


@pytest.mark.parametrize("name", CASES)
def test_the_file_says_what_torch_says(name: str, tmp_path: Path) -> None:
    deployable, spec, images = ready(name)
    target = tmp_path / "model.onnx"
    verification = export_onnx(deployable, spec, images, target)
    assert verification.passed
    assert verification.n == 12
    got = engine_probabilities(OrtEngine(target), images)
    np.testing.assert_allclose(got, torch_probabilities(deployable, images), atol=1e-4)
    np.testing.assert_allclose(got.sum(1), 1, atol=1e-5)
    with Classifier(target) as classifier:
        assert classifier.spec == spec
        assert classifier.self_test().passed
        assert classifier.self_test().stored


def test_first_scaling_is_folded_away(tmp_path: Path) -> None:
    """LeNet's first convolution has no padding: nothing is left between the cast and the convolution."""
    deployable, spec, images = ready("lenet5")
    export_onnx(deployable, spec, images, tmp_path / "lenet.onnx")
    assert [n.op_type for n in onnx.load(tmp_path / "lenet.onnx").graph.node][:2] == ["Cast", "Conv"]
    deployable, spec, images = ready("resnet18")
    export_onnx(deployable, spec, images, tmp_path / "resnet.onnx")
    nodes = [n.op_type for n in onnx.load(tmp_path / "resnet.onnx").graph.node]
    assert nodes[:3] == ["Cast", "Add", "Conv"]
    assert "ReduceMean" not in nodes


def test_no_traces_of_the_machine(tmp_path: Path) -> None:
    deployable, spec, images = ready("lenet5")
    export_onnx(deployable, spec, images, tmp_path / "m.onnx")
    raw = (tmp_path / "m.onnx").read_bytes()
    assert b"stack_trace" not in raw
    assert str(Path.cwd()).encode() not in raw
    assert len(raw) < 61_706 * 4 + 12_000


def test_same_network_same_bytes(tmp_path: Path) -> None:
    for k in (1, 2):
        deployable, spec, images = ready("lenet5")
        export_onnx(deployable, spec, images, tmp_path / f"{k}.onnx")
    assert (tmp_path / "1.onnx").read_bytes() == (tmp_path / "2.onnx").read_bytes()


def test_a_network_that_cannot_agree_leaves_no_file(tmp_path: Path) -> None:
    class Moody(nn.Module):
        """Says something else the second time: what a wrong graph looks like from outside."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = x.flatten(1)[:, :10]
            return logits * 100 if torch.compiler.is_exporting() else -logits * 100

    _, spec, images = ready("lenet5")
    broken = Deployable(Moody(), 1, (0.5,), (0.5,), 1.0)
    with pytest.raises(GateError) as error:
        export_onnx(broken, spec, images, tmp_path / "m.onnx")
    assert error.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_self_test_notices_another_answer(tmp_path: Path) -> None:
    deployable, spec, images = ready("lenet5")
    export_onnx(deployable, spec, images, tmp_path / "m.onnx")
    with Classifier(tmp_path / "m.onnx") as classifier:
        stored = classifier.spec.selftest
        assert stored is not None
        other = np.eye(10, dtype=np.float32)[3]
        wrong = replace(spec, selftest=replace(stored, probabilities=other))
    with Classifier(tmp_path / "m.onnx", spec=wrong) as classifier:
        assert not classifier.self_test().passed


def test_near_ties_count_as_agreement() -> None:
    a = np.array([[0.50001, 0.49999], [0.9, 0.1]], np.float32)
    b = np.array([[0.49999, 0.50001], [0.9, 0.1]], np.float32)
    assert compare(a, b).agreement == 1.0
    assert compare(a, b[:, ::-1]).agreement == 0.5


def test_predict_script_takes_names_as_data(tmp_path: Path) -> None:
    evil = 'x"; import os; os.system("touch hacked") #.onnx'
    text = predict_script(evil)
    compile(text, "predict.py", "exec")
    assert f"with_name({evil!a})" in text


def test_predict_script_runs(tmp_path: Path) -> None:
    import subprocess
    import sys

    from PIL import Image

    from support import ROOT

    deployable, spec, images = ready("lenet5")
    export_onnx(deployable, spec, images, tmp_path / "数字.onnx")
    (tmp_path / "predict.py").write_text(predict_script("数字.onnx"), encoding="utf-8")
    Image.fromarray(images[0, :, :, 0]).save(tmp_path / "a.png")
    done = subprocess.run(
        [sys.executable, "predict.py", "a.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT / ".dev"), "PATH": "", "PYTHONUTF8": "1"},
    )
    with Classifier(tmp_path / "数字.onnx") as classifier:
        wanted = classifier.predict(Frame(images[0, :, :, 0], "gray")).label
    assert done.stdout.startswith(f"a.png: {wanted} ")
