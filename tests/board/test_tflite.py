"""imago's .tflite files give on ARM the answers that they give on x86: with LiteRT on two Debians, and
with its predecessor tflite-runtime, whose last wheels are for Python 3.11 and numpy 1 (bookworm, and x86).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imago.quantize.session import QuantiseOptions
from imago.quantize.tflite import quantise_tflite
from imago.train.config import TrainConfig
from imago.train.session import train
from imago.workflow.steps import export_run

import picture_support
from emulation import debian
from emulation.boards import SUITES
from emulation.userland import Userland
from support import ROOT, need_converter

pytestmark = pytest.mark.slow
TFLITE_RUNTIME = ("tflite-runtime==2.14.0", "numpy<2", "pillow")
NETWORKS = {
    "lenet5": TrainConfig(epochs=8, batch_size=16, threads=1, size=32),
    "mobilenet_v3_small": TrainConfig(
        model="mobilenet_v3_small", epochs=40, batch_size=16, threads=1, size=64
    ),
}
# An int8 network rounds sums differently by one step where NEON and AVX do; that is what one step is worth.
TOLERANCE = {"fp32": 1e-4, "int8": 0.03}
JOB = """
import json, sys
from pathlib import Path
import numpy as np
from imago.edge_runtime import Classifier
from imago.edge_runtime.types import Frame
y, x = np.mgrid[0:120, 0:160]
frames = [
    Frame((127 + 90 * np.sin((x * k + y * (9 - k)) / 12)).astype(np.uint8), "gray") for k in range(10)
]
said = {}
for path in map(Path, sys.argv[1:]):
    with Classifier(path) as classifier:
        test = classifier.self_test()
        said[path.stem] = {
            "engine": f"{classifier.engine.name} {classifier.engine.version}",
            "precision": classifier.spec.precision,
            "passed": test.passed and test.stored,
            "answers": [classifier.predict(frame).probabilities.tolist() for frame in frames],
        }
print(json.dumps(said))
"""
Answers = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with LeNet-5 and MobileNetV3-Small, fp32 and int8, trained a little."""
    need_converter()
    root = tmp_path_factory.mktemp("tflite")
    photos = picture_support.striped_folders(root / "photos")
    (root / "files").mkdir()
    for name, config in NETWORKS.items():
        train(photos, config, root / name)
        model = export_run(root / name, root / "files" / f"{name}-fp32.tflite", overwrite=True).model
        options = QuantiseOptions(calibration=32, runs=5)
        quantise_tflite(model, photos, root / "files" / f"{name}-int8.tflite", options, "static")
    return root / "files"


@pytest.fixture(scope="module")
def wanted(files: Path) -> Answers:
    """What they say here, with LiteRT."""
    said = on_this_machine(sys.executable, files, ROOT / ".dev")
    assert all(one["engine"].startswith("litert ") for one in said.values()), said
    return said


def on_this_machine(python: str, files: Path, *path: Path) -> Answers:
    """``JOB`` in a process of its own; -S: of the interpreter's own packages, only those in ``path``."""
    own = [python] if python == sys.executable else [python, "-S"]
    env = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(map(str, path)), "IMAGO_LANG": "en"}
    done = subprocess.run(
        [*own, "-c", JOB, *models(files)], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def on_the_board(
    system: Userland, board: str, files: Path, share: Path, env: dict[str, str] | None = None
) -> Answers:
    for path in models(files):
        shutil.copy(path, share)
    inside = [f"/share/{Path(path).name}" for path in models(files)]
    done = system.run(("python3", "-c", JOB, *inside), share=share, board=board, env=env)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def models(files: Path) -> list[str]:
    return [str(path) for path in sorted(files.glob("*.tflite"))]


def check(said: Answers, wanted: Answers, engine: str) -> None:
    assert set(said) == set(wanted)
    assert len(said) == 2 * len(NETWORKS)
    for name, one in said.items():
        assert one["engine"].startswith(engine + " "), one["engine"]
        assert one["passed"], name
        got, reference = np.array(one["answers"]), np.array(wanted[name]["answers"])
        assert np.ptp(reference[:, 0]) > 0.2, f"{name} says the same of every picture"
        np.testing.assert_allclose(got, reference, atol=TOLERANCE[one["precision"]], err_msg=name)


@pytest.mark.parametrize(("suite", "board"), [("trixie", "pi5"), ("trixie", "zero2"), ("bookworm", "pi4")])
def test_litert_on_boards(
    system: Callable[[str], Userland], share: Path, files: Path, wanted: Answers, suite: str, board: str
) -> None:
    check(on_the_board(system(suite), board, files, share), wanted, "litert")


@pytest.mark.parametrize("board", ["zero2", "pi5"])
def test_tflite_runtime_on_boards(
    system: Callable[[str], Userland], share: Path, files: Path, wanted: Answers, board: str
) -> None:
    target = system("bookworm")
    debian.wheels(share / "tflite", target.suite, TFLITE_RUNTIME)
    said = on_the_board(target, board, files, share, {"PYTHONPATH": "/share/site:/share/tflite"})
    check(said, wanted, "tflite-runtime")


def test_tflite_runtime_here(files: Path, wanted: Answers, tmp_path: Path) -> None:
    own = Path(sys.base_prefix, "bin", "python3.11")
    python = str(own) if own.exists() else shutil.which("python3.11")
    if python is None:
        pytest.skip("tflite-runtime's last wheels are for Python 3.11, which is not here")
    debian.wheels(tmp_path / "tflite", SUITES["bookworm"], TFLITE_RUNTIME, machine="x86_64")
    check(on_this_machine(python, files, ROOT / ".dev", tmp_path / "tflite"), wanted, "tflite-runtime")
