"""kill -9 at random moments, many times: every resumed run ends in the weights of the uninterrupted one.

    python benchmarks/kills.py [--kills 50] [--seed 0]

LeNet-5 on 600 MNIST pictures, one process on a CPU, checkpoints at every epoch. A run is killed after a
random time, from before its first file to its last, resumed, killed again, until it finishes; then the next
begins. Weights are compared bit for bit, the table of epochs line by line (but for the seconds in it).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from common import ROOT, data_folder, save

QUICK = "--epochs 60 --batch-size 32 --threads 1 --seed 3 --val-fraction 0.1"
COUNT = 600


def few(folder: Path) -> Path:
    """A set of class folders with real digits, small enough for many runs."""
    from PIL import Image

    from imago.train.data.layouts import load_dataset

    part = load_dataset(data_folder("mnist")).splits["train"]
    if part.images is None:
        raise RuntimeError("MNIST comes as idx files")
    for number in range(COUNT):
        target = folder / str(part.labels[number]) / f"{number:04}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(part.images[number]).save(target)
    return folder


def command(data: Path, out: Path) -> list[str]:
    """Begin, or go on."""
    begun = (out / "run.json").exists()
    what = ["--resume", str(out)] if begun else [str(data), "--out", str(out), *QUICK.split()]
    return [sys.executable, "-m", "imago.cli.main", "train", *what]


def facts(out: Path) -> tuple[bytes, list[Any]]:
    """The weights as they lie on disk, and every epoch's figures without its times."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    timeless = [{k: v for k, v in row.items() if k not in ("seconds", "images_per_s")} for row in rows]
    return (out / "weights.safetensors").read_bytes(), timeless


def stage(out: Path) -> str:
    """How far a killed run had come."""
    if not (out / "run.json").exists():
        return "before the run's first file"
    if not (out / "checkpoint.safetensors").exists():
        return (
            "after the last epoch"
            if (out / "weights.safetensors").exists()
            else "before the first checkpoint"
        )
    return "while training"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, stages, runs, wrong = random.Random(args.seed), Counter[str](), 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env = {**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en", "OMP_NUM_THREADS": "1"}
        env["IMAGO_CACHE"] = str(folder / "cache")
        data = few(folder / "digits")
        began = time.monotonic()
        subprocess.run(command(data, folder / "whole"), env=env, capture_output=True, check=True)
        longest, wanted = time.monotonic() - began, facts(folder / "whole")
        while stages.total() < args.kills:
            out = folder / f"run{runs}"
            while not (out / "metrics.json").exists():
                process = subprocess.Popen(command(data, out), env=env, stdout=subprocess.DEVNULL)
                try:
                    process.wait(timeout=rng.uniform(0.1, longest))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    stages[stage(out)] += 1
                    print(f"kill {stages.total()}: {stage(out)}", file=sys.stderr, flush=True)
                else:
                    if process.returncode:
                        raise RuntimeError(f"{out} ended with {process.returncode}")
            runs += 1
            wrong += facts(out) != wanted
    print(f"{stages.total()} kills in {runs} runs, {wrong} of them not the uninterrupted one; {dict(stages)}")
    save("kills", {"kills": stages.total(), "runs": runs, "wrong": wrong, "stages": dict(stages)})
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
