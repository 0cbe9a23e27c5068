"""Trying a library in a process of its own, where it may die without taking the doctor along."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass

from imago.edge_runtime.doctor.findings import Finding
from imago.edge_runtime.doctor.tiny_onnx import TINY_ONNX
from imago.edge_runtime.fresh import FATAL, Ending, run_python
from imago.edge_runtime.messages import tr

TIMEOUT_S = 120.0  # a Zero 2 W that swaps takes half a minute for onnxruntime
_IMPORT = """
import importlib, importlib.metadata as metadata, sys
importlib.import_module(sys.argv[1])
try: print(metadata.version(sys.argv[2]))
except metadata.PackageNotFoundError: print("")
"""
_ORT = f"""
import base64, onnxruntime as ort
ort.set_default_logger_severity(3)
s = ort.InferenceSession(base64.b64decode("{TINY_ONNX}"), providers=["CPUExecutionProvider"])
import numpy
s.run(None, {{"x": numpy.zeros((1, 4, 8, 8), numpy.uint8)}})
print(ort.__version__)
"""
_SELF_TEST = """
import sys
from imago.edge_runtime.classifier import Classifier
with Classifier(sys.argv[1]) as c:
    r = c.self_test()
    print(f"{c.engine.name} {int(r.stored)} {int(r.passed)} {r.difference:.2g}")
"""
ABI_WORDS = ("dtype size changed", "_ARRAY_API", "multiarray failed to import", "compiled using NumPy 1")


@dataclass(frozen=True, slots=True)
class Library:
    """Something to try. module: its import name. package: what pip calls it. engine: runs models."""

    module: str
    package: str
    code: str = _IMPORT
    engine: bool = False


LIBRARIES = (
    Library("numpy", "numpy"),
    Library("onnxruntime", "onnxruntime", _ORT, engine=True),
    Library("ai_edge_litert.interpreter", "ai-edge-litert", engine=True),
    Library("tflite_runtime.interpreter", "tflite-runtime", engine=True),
    Library("PIL.Image", "pillow"),
    Library("cv2", "opencv-python-headless"),
    Library("simplejpeg", "simplejpeg"),
    Library("picamera2", "picamera2"),
)


def installed(library: Library) -> bool:
    """Whether it could be imported at all; imports nothing."""
    return importlib.util.find_spec(library.module.split(".")[0]) is not None


def try_library(library: Library) -> Finding:
    """Import it (ONNX Runtime also runs a model of two layers) in a fresh process."""
    return library_finding(
        library, run_python(["-c", library.code, library.module, library.package], timeout=TIMEOUT_S)
    )


def library_finding(library: Library, ending: Ending) -> Finding:
    """What the way in which that process ended says about the library."""
    check, name = f"library.{library.package}", library.package
    if ending.code == 0:
        version = ending.out.strip()
        return Finding(
            check, "ok", tr("{name} {version} works", name=name, version=version).replace("  ", " ")
        )
    if ending.code is None:
        return Finding(
            check,
            "warning",
            tr("{name} did not answer within {seconds:.0f} seconds", name=name, seconds=TIMEOUT_S),
            tr("free memory and try again; a worn card is slow as well"),
        )
    if ending.killed_by in FATAL:
        text = tr("{name} dies here ({signal})", name=name, signal=ending.killed_by)
        return Finding(check, "problem", text, _dies(library, ending.killed_by))
    if any(word in ending.err for word in ABI_WORDS):
        return Finding(
            check,
            "problem",
            tr("{name} was built for another numpy than the one installed here", name=name),
            _abi(library, ending.err),
        )
    return Finding(
        check,
        "problem",
        tr("{name} cannot be used ({reason})", name=name, reason=ending.last_line[:200]),
        tr("pip install --force-reinstall {name}", name=name),
    )


def engine_findings(found: list[Finding]) -> Iterator[Finding]:
    """One word where no engine works at all."""
    engines = {f"library.{library.package}" for library in LIBRARIES if library.engine}
    if not any(finding.check in engines and finding.level == "ok" for finding in found):
        yield Finding(
            "engine.none",
            "problem",
            tr("no engine works here: models cannot be run"),
            tr("pip install onnxruntime, or pip install ai-edge-litert for .tflite models"),
        )


def model_finding(path: str) -> Finding:
    """Load a model file and run the self-test that it carries, in a fresh process."""
    ending = run_python(["-c", _SELF_TEST, path], timeout=TIMEOUT_S)
    if ending.code != 0:
        text = tr("{path} cannot be run here ({reason})", path=path, reason=ending.last_line[:200])
        remedy = tr("see the findings about its engine above, or copy the file again")
        return Finding("model.self-test", "problem", text, remedy)
    engine, stored, passed, difference = ending.out.split()[-4:]
    values = {"path": path, "engine": engine, "difference": difference}
    if stored == "0":
        return Finding(
            "model.self-test", "note", tr("{path} runs ({engine}); it carries no self-test", **values)
        )
    if passed == "1":
        text = tr("{path} gives the stored answer ({engine}, difference {difference})", **values)
        return Finding("model.self-test", "ok", text)
    text = tr(
        "{path} gives another answer than when it was exported ({engine}, difference {difference})", **values
    )
    remedy = tr("copy the file again; where that does not help, use another version of the engine")
    return Finding("model.self-test", "problem", text, remedy)


def _dies(library: Library, signal_name: str) -> str:
    if signal_name == "SIGILL" and library.package == "onnxruntime":
        return tr(
            "this wheel needs instructions that the processor lacks: pip install --upgrade onnxruntime, "
            "or pip install 'onnxruntime<1.21', or use LiteRT with a .tflite model"
        )
    if signal_name == "SIGILL":
        return tr(
            "this wheel needs instructions that the processor lacks: install another version of {name}",
            name=library.package,
        )
    return tr("pip install --force-reinstall {name}", name=library.package)


def _abi(library: Library, err: str) -> str:
    old_library = "compiled using NumPy 1" in err or "_ARRAY_API" in err or "Expected 80" in err
    if library.package in ("simplejpeg", "picamera2"):
        return (
            tr("pip install 'numpy<2' into this virtual environment, or pip uninstall numpy to use apt's")
            if old_library
            else tr("pip uninstall numpy to use apt's, or pip install --upgrade numpy simplejpeg")
        )
    if library.package == "tflite-runtime":
        return tr("pip install 'numpy<2', or use its successor: pip install ai-edge-litert")
    return tr("pip install --upgrade numpy {name}", name=library.package)
