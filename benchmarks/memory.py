"""Memory and start-up of the shipped runtime, each in fresh processes.

    python benchmarks/memory.py [--rounds 7]

Peak RSS (VmHWM) of a process that runs 200 frames through LeNet-5 with ONNX Runtime, and with LiteRT where
the TFLite converter is installed, both without OpenCV; process start to first prediction; ``imago --help``.
Random weights, real export.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import ROOT, machine, random_run, save

FRAMES = """
import sys, time
from imago.edge_runtime.classifier import Classifier
from imago.edge_runtime.cameras.synthetic import SyntheticSource
classifier = Classifier(sys.argv[1])
first = None
for frame in SyntheticSource((160, 120)):
    with frame:
        classifier.predict(frame)
    first = first or time.time()
    if frame.index >= int(sys.argv[2]) - 1:
        break
assert "cv2" not in sys.modules
peak = next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]
print(int(peak) / 1024, first)
"""


def frames(model: Path, count: int) -> tuple[float, float]:
    """Peak RSS in MB, and seconds from process start to the first prediction."""
    began = time.time()
    done = subprocess.run(
        [sys.executable, "-c", FRAMES, str(model), str(count)], capture_output=True, text=True, check=True
    )
    peak, first = map(float, done.stdout.split())
    return peak, first - began


def make_models(folder: Path) -> dict[str, Path]:
    """LeNet-5 for every engine that can be had here."""
    from imago.edge_runtime.errors import MissingDependency
    from imago.workflow.steps import export_run

    run = random_run(folder / "run", "lenet5", 32, 1)
    models = {"onnxruntime": export_run(run, folder / "lenet5.onnx").model}
    try:
        models["litert"] = export_run(run, folder / "lenet5.tflite", overwrite=True).model
    except MissingDependency as error:
        print(error, file=sys.stderr)
    return models


def help_seconds() -> float:
    """Wall seconds of ``imago --help``."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "imago.cli.main", "--help"], capture_output=True, check=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT / ".dev")
    rows: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        models = make_models(Path(folder))
        for model in models.values():
            frames(model, 1)  # the first start reads libraries from disk
        for _ in range(args.rounds):
            for engine, model in models.items():
                peak, first = frames(model, 200)
                rows.setdefault(f"peak_rss_mb {engine}", []).append(peak)
                rows.setdefault(f"start_to_first_prediction_s {engine}", []).append(first)
            rows.setdefault("help_s", []).append(help_seconds())
    print(machine()["cpu"])
    for name, values in rows.items():
        print(f"{name:<42} median {statistics.median(values):7.3f}   {min(values):.3f} to {max(values):.3f}")
    save(
        "memory",
        {"rounds": args.rounds, **{k: {"median": statistics.median(v), "all": v} for k, v in rows.items()}},
    )


if __name__ == "__main__":
    main()
