"""A kit on the board that it is for: an aarch64 system with nothing but Python, and no network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kit_support
import onnx_models
import tflite_models
from emulation.userland import Userland

INSTALL = """
set -e
! ls /sys/class/net/eth* 2>/dev/null
python3 -I -m venv --without-pip /share/venv
/share/venv/bin/python -I "$(echo /share/kit/wheels/pip-*.whl)/pip" install --quiet --no-compile --no-index \\
  --no-deps --no-cache-dir --require-hashes --find-links /share/kit/wheels \\
  --requirement /share/kit/requirements.txt
/share/venv/bin/python -I -m imago.cli.main predict "$1" picture.png --json -
"""


@pytest.mark.slow
@pytest.mark.parametrize(("suite", "engine"), [("trixie", "onnxruntime"), ("bookworm", "litert")])
def test_from_an_empty_board_to_a_prediction(
    system: Callable[[str], Userland], tmp_path: Path, suite: str, engine: str
) -> None:
    board = system(suite)
    kit_support.make_kit(tmp_path / "kit", "--os", suite, "--engine", engine, "--camera", "none")
    onnx_models.lenet(tmp_path / "m.onnx")
    tflite_models.write(tmp_path / "m.tflite")
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    model = "m.tflite" if engine == "litert" else "m.onnx"
    done = board.run(
        ["sh", "-c", INSTALL, "sh", model],
        share=tmp_path, board="zero2", env={"PYTHONPATH": ""}, network=False, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout[done.stdout.index("{") :])
    (site,) = (tmp_path / "venv" / "lib").glob("python3*/site-packages")
    names = {path.name.partition("-")[0] for path in site.glob("*.dist-info")}
    assert ("onnxruntime" in names) == (engine == "onnxruntime")
    assert "pip" not in names
