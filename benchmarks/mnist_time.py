"""How fast MNIST is learned: LeNet-5 to 99.2 % from the start of the process, and the best of ten minutes.

    python benchmarks/mnist_time.py [--seeds 3] [--only fast|best] [--goal-s 40]

fast: `imago train` with the recipe below, in a process of its own with an empty cache: seconds from start to
end, report and all, and the accuracy on the 10,000 test pictures. best: the default settings.
Both recipes were chosen on pictures held out of the training split; the test split is used once per run, at
its end. Times mean something on a quiet machine only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import ROOT, data_folder, save

RECIPES = {
    "fast": ("--epochs 6 --batch-size 128 --lr 0.006", 0.992, 40.0),
    "best": ("", 0.995, 600.0),
}


def one(flags: str, seed: int) -> dict[str, Any]:
    """One run in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env = {**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en"}
        env["IMAGO_CACHE"] = str(folder / "cache")
        command = [sys.executable, "-m", "imago.cli.main", "train", str(data_folder("mnist"))]
        command += ["--out", str(folder / "run"), "--seed", str(seed), *flags.split()]
        began = time.perf_counter()
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        metrics = json.loads((folder / "run" / "metrics.json").read_text(encoding="utf-8"))
    test = metrics["test"]
    return {
        "seed": seed,
        "seconds": seconds,
        "epochs_s": metrics["seconds"],
        "accuracy": test["accuracy"],
        "n": test["n"],
        "val": metrics["val"]["accuracy"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=tuple(RECIPES))
    args = parser.parse_args()
    result: dict[str, Any] = {}
    for name, (flags, goal, limit) in RECIPES.items():
        if args.only not in (None, name):
            continue
        rows = []
        for seed in range(1, args.seeds + 1):
            rows.append(one(flags, seed))
            r = rows[-1]
            print(
                f"{name} seed {seed}: {r['accuracy']:.2%} of {r['n']} in {r['seconds']:.1f} s "
                f"({r['epochs_s']:.1f} s in epochs; validation {r['val']:.2%})",
                flush=True,
            )
        mean = statistics.mean(row["accuracy"] for row in rows)
        slowest = max(row["seconds"] for row in rows)
        print(
            f"{name} ({flags or 'defaults'}): mean {mean:.2%} [{goal:.1%}], "
            f"at most {slowest:.1f} s [{limit:.0f}]"
        )
        result[name] = {"flags": flags, "rows": rows, "mean": mean}
    save("mnist_time", result)


if __name__ == "__main__":
    main()
