"""The two models of benchmarks/events.py.

    python benchmarks/event_models.py        # makes the first one: about three minutes

``drawn``: LeNet-5 on generated insects and generated backgrounds, made by the shipped commands where it is
not there yet. ``inat``: MobileNetV2 of 1,021 insects and a background (Google Coral, from iNaturalist
photos; int8 TFLite, run by ai-edge-litert), which nobody here trained or calibrated; species are summed up
to genera, since two carpenter bees that differ in a hair should not make a bee unknown.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from common import OUT, ROOT, data_folder

FOLDER = OUT / "events"
SEED = 1
PER_CLASS = 400
TRAIN = ("--model", "lenet5", "--size", "48", "--epochs", "80", "--augment", "overhead", "--threads", "1")
INAT = "models/mobilenet_v2_1.0_224_inat_insect_quant.tflite"
INAT_LABELS = "models/inat_insect_labels.txt"


def imago(*args: str) -> None:
    """Run a shipped command."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en"}
    subprocess.run([sys.executable, "-m", "imago.cli.main", *args], env=env, check=True, stdout=sys.stderr)


def drawn(folder: Path = FOLDER) -> Path:
    """The model of generated insects; an interrupted training is gone on with."""
    path, data, run = folder / "drawn.onnx", folder / "drawn-data", folder / "drawn-run"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    seed = ("--seed", str(SEED))
    if not data.exists():
        imago("data", "generate", "--out", str(data), "--per-class", str(PER_CLASS), "--background", *seed)
    if (run / "checkpoint.safetensors").exists():
        imago("train", "--resume", str(run))
    elif not (run / "metrics.json").exists():
        imago("train", str(data), "--out", str(run), *seed, *TRAIN)
    imago("export", str(run), "-o", str(path), "--force")
    return path


class Inat:
    """``Predictor`` of insect genera."""

    def __init__(self) -> None:
        from ai_edge_litert.interpreter import Interpreter
        from imago.edge_runtime.preprocess import Preprocessor
        from imago.edge_runtime.spec import InputSpec

        self._interpreter = Interpreter(str(data_folder(INAT)), num_threads=1)
        self._interpreter.allocate_tensors()
        self._in = self._interpreter.get_input_details()[0]["index"]
        details = self._interpreter.get_output_details()[0]
        self._out, (self._scale, self._zero) = details["index"], details["quantization"]
        self._preprocessor = Preprocessor(InputSpec(224, 224, layout="nhwc"))
        lines = data_folder(INAT_LABELS).read_text(encoding="utf-8").splitlines()
        names = [line.split()[0] for line in lines if line.strip()]
        self.labels = tuple(dict.fromkeys(names))
        self._groups = np.array([self.labels.index(name) for name in names])

    def predict(self, frame):  # type: ignore[no-untyped-def]
        """The answer for one frame; what int8 rounded to zero is missing, and goes to no class."""
        from imago.edge_runtime.types import Prediction

        self._interpreter.set_tensor(self._in, self._preprocessor.tensor(frame))
        self._interpreter.invoke()
        raw = (self._interpreter.get_tensor(self._out)[0].astype(np.float32) - self._zero) * self._scale
        return Prediction(np.bincount(self._groups, raw, len(self.labels)).astype(np.float32), self.labels)


if __name__ == "__main__":
    print(drawn())
