"""Libraries that really die, in processes of their own; and the doctor's command, which survives them."""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from imago.edge_runtime.doctor.probes import LIBRARIES, Library, library_finding, model_finding, try_library
from imago.edge_runtime.doctor.tiny_onnx import TINY_ONNX
from imago.edge_runtime.fresh import Ending, run_python

import onnx_models
from support import imago

DYING = "import os, signal; os.kill(os.getpid(), signal.{})\n"
NUMPY1 = (
    "A module that was compiled using NumPy 1.x cannot be run in\n"
    "NumPy 2.4.6 as it may crash.\nImportError: numpy.core.multiarray failed to import\n"
)
NUMPY2 = (
    "ValueError: numpy.dtype size changed, may indicate binary incompatibility. "
    "Expected 96 from C header, got 88 from PyObject\n"
)


def library(package: str) -> Library:
    return next(candidate for candidate in LIBRARIES if candidate.package == package)


def test_the_tiny_model_is_what_it_says() -> None:
    fill = {"w": (TensorProto.FLOAT, 0.1), "v": (TensorProto.INT8, 1)}
    shaped = {"w": ("s", [4, 4, 3, 3]), "v": ("r", [8, 4])}

    def constant(name: str) -> onnx.NodeProto:
        kind, value = fill[name]
        tensor = helper.make_tensor("", kind, [1], [value])
        return helper.make_node("ConstantOfShape", [shaped[name][0]], [name], value=tensor)

    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        constant("w"),
        helper.make_node("Conv", ["f", "w"], ["y"]),
        constant("v"),
        helper.make_node("MatMulInteger", ["x", "v"], ["z"]),
    ]
    outputs = [("y", TensorProto.FLOAT, [1, 4, 6, 6]), ("z", TensorProto.INT32, [1, 4, 8, 4])]
    graph = helper.make_graph(
        nodes,
        "t",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 4, 8, 8])],
        [helper.make_tensor_value_info(*output) for output in outputs],
        [helper.make_tensor(name, TensorProto.INT64, [len(v)], v) for name, v in shaped.values()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    model.producer_name = ""
    assert model.SerializeToString() == base64.b64decode(TINY_ONNX)


def test_a_working_engine() -> None:
    finding = try_library(library("onnxruntime"))
    assert (finding.level, finding.check) == ("ok", "library.onnxruntime")
    assert any(digit.isdigit() for digit in finding.text)


@pytest.mark.parametrize("name", ["SIGILL", "SIGSEGV", "SIGABRT"])
def test_a_library_that_dies_is_a_finding(name: str) -> None:
    ending = run_python(["-c", DYING.format(name)])
    assert ending.killed_by == name
    finding = library_finding(library("onnxruntime"), ending)
    assert finding.level == "problem"
    assert name in finding.text
    assert ("onnxruntime<1.21" in finding.remedy) == (name == "SIGILL")


@pytest.mark.parametrize(
    ("package", "err", "remedy"),
    [
        ("simplejpeg", NUMPY1, "numpy<2"),
        ("simplejpeg", NUMPY2, "uninstall numpy"),
        ("tflite-runtime", NUMPY1, "ai-edge-litert"),
    ],
)
def test_another_numpys_abi(package: str, err: str, remedy: str) -> None:
    finding = library_finding(library(package), Ending(1, "", err))
    assert finding.level == "problem"
    assert "another numpy" in finding.text
    assert remedy in finding.remedy


def test_other_endings() -> None:
    assert library_finding(library("pillow"), Ending(None)).level == "warning"
    broken = library_finding(
        library("pillow"), Ending(1, "", "Traceback\nImportError: libGL.so.1: missing\n")
    )
    assert "libGL.so.1" in broken.text
    assert run_python(["-c", "import time; time.sleep(60)"], timeout=0.2).code is None


def test_models_are_tried(tmp_path: Path) -> None:
    onnx_models.lenet(tmp_path / "good.onnx")
    assert model_finding(str(tmp_path / "good.onnx")).level == "ok"
    onnx_models.lenet(tmp_path / "plain.onnx", selftest=False)
    assert model_finding(str(tmp_path / "plain.onnx")).level == "note"
    (tmp_path / "bad.onnx").write_bytes(b"bad")
    assert model_finding(str(tmp_path / "bad.onnx")).level == "problem"


def test_the_command_survives_an_engine_that_dies(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").write_text(DYING.format("SIGILL"))
    path = os.pathsep.join([str(tmp_path), *(entry for entry in sys.path if entry)])
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from imago.cli.main import main\n"
        "code = main(['doctor', '--json', '-'])\n"
        "assert not {'numpy', 'onnxruntime'} & set(sys.modules), 'the doctor risked its own life'\n"
        "sys.exit(code)\n"
    )
    done = run_python(["-c", code], env={"PYTHONPATH": path, "IMAGO_LANG": "en"})
    assert done.code == 1, done.err
    data = json.loads(done.out)
    bad = {f["check"]: f for f in data["findings"] if f["level"] == "problem"}
    assert "SIGILL" in bad["library.onnxruntime"]["text"]
    assert bad["library.onnxruntime"]["remedy"]


def test_the_command_for_people(tmp_path: Path) -> None:
    onnx_models.lenet(tmp_path / "m.onnx")
    done = imago("doctor", str(tmp_path / "m.onnx"), "--folder", str(tmp_path))
    assert done.returncode in (0, 1), done.stderr
    assert "gives the stored answer" in done.stdout
    assert "problem(s)" in done.stdout.splitlines()[-1]
    chinese = imago("doctor", "--quiet", env={"IMAGO_LANG": "zh"})
    assert "个问题" in chinese.stdout
    missing = imago("doctor", str(tmp_path / "none.onnx"))
    assert missing.returncode == 2
    assert len(missing.stderr.splitlines()) == 1
