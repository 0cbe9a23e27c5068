"""Memory and start-up of the shipped runtime, each in fresh processes.

    python benchmarks/memory.py [--rounds 7]

Peak RSS (VmHWM) of a process that runs 200 frames through LeNet-5 with ONNX Runtime and without OpenCV;
process start to first prediction; ``imago --help``. Random weights, real export.
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

from common import ROOT, machine, save
from runtime import make_models

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
    with tempfile.TemporaryDirectory() as folder:
        make_models(Path(folder))
        model = Path(folder) / "lenet5.onnx"
        frames(model, 1)  # the first start reads libraries from disk
        runs = [frames(model, 200) for _ in range(args.rounds)]
        helps = [help_seconds() for _ in range(args.rounds)]
    rows = {
        "peak_rss_mb": [peak for peak, _ in runs],
        "start_to_first_prediction_s": [first for _, first in runs],
        "help_s": helps,
    }
    print(machine()["cpu"])
    for name, values in rows.items():
        print(f"{name:<30} median {statistics.median(values):7.3f}   {min(values):.3f} to {max(values):.3f}")
    save(
        "memory",
        {"rounds": args.rounds, **{k: {"median": statistics.median(v), "all": v} for k, v in rows.items()}},
    )


if __name__ == "__main__":
    main()
