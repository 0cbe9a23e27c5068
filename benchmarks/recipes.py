"""What a recipe is worth: optimisers, a start from other pictures, and what is done to the batches.

    python benchmarks/recipes.py [--only optimiser|transfer|recipe] [--seeds 3] [--pretrained RUN]

optimiser: LeNet-5 on MNIST (4 epochs) and MobileNetV3-Small on insects10 (5 epochs) with SGD, momentum,
Adam, AdamW and RMSprop, each with imago's default rate for it. transfer: MobileNetV3-Small on insects10,
mosquito6 and bugs7 from scratch, and from a run on cifar10_jpg with no, half or all of its blocks frozen.
recipe: one thing at a time changed in MobileNetV3-Small's 5 epochs on insects10: schedule, weight average,
label smoothing, mixup, cutmix, growing pictures. All at 64 px, one thread; flags not named are the defaults.

Every run uses the test split once, at its end; nothing was chosen by it. ± is the standard deviation over
the seeds. Seeds come in turn, finished runs are kept, interrupted ones go on: it can be stopped at any time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from common import OUT, data_folder, save, unpacked
from distillation import trained

OPTIMIZERS = ("sgd", "momentum", "adam", "adamw", "rmsprop")
SMALL = "--model mobilenet_v3_small --size 64 --stem 0"
EPOCHS = {"insects10": 5, "mosquito6": 12, "bugs7": 20}
BATCH = {"bugs7": " --batch-size 16", "mosquito6": " --batch-size 32"}
HALF, PRETRAIN_EPOCHS = 7, 14  # MobileNetV3-Small has 13 blocks of features and two layers behind them
STARTS = {
    "scratch": "",
    "all learn": "",
    "half frozen": f"--freeze {HALF}",
    "all frozen": "--freeze backbone",
}
RECIPES = {
    "default": "",
    "cosine": "--schedule cosine",
    "constant rate": "--schedule constant",
    "no weight average": "--ema 0",
    "no label smoothing": "--label-smoothing 0",
    "mixup 0.2": "--mixup 0.2",
    "cutmix 1.0": "--cutmix 1.0",
    "growing from half": "--grow 0.6",
}


@dataclass(frozen=True, slots=True)
class Job:
    """One run: where it stands in the tables, and the flags that make it."""

    group: str
    data: str
    what: str
    seed: int
    flags: str

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.group}-{self.data}-{self.what}-{self.seed}".replace(" ", "_")


def jobs(seeds: int, pretrained: Path, only: str | None) -> Iterator[Job]:
    """All runs, seed by seed: an early end leaves fewer seeds, not fewer rows."""
    for seed in range(1, seeds + 1):
        tail = f"--threads 1 --seed {seed}"
        if only in (None, "transfer"):
            for data, epochs in EPOCHS.items():
                for what, flags in STARTS.items():
                    base = SMALL if what == "scratch" else f"--init {pretrained} {flags}"
                    yield Job(
                        "transfer", data, what, seed, f"{base} --epochs {epochs}{BATCH.get(data, '')} {tail}"
                    )
        if only in (None, "optimiser"):
            for what in OPTIMIZERS:
                yield Job("optimiser", "mnist", what, seed, f"--optimizer {what} --epochs 4 {tail}")
            for what in OPTIMIZERS:
                flags = f"{SMALL} --optimizer {what} --epochs {EPOCHS['insects10']} {tail}"
                yield Job("optimiser", "insects10", what, seed, flags)
        if only in (None, "recipe"):
            for what, flags in RECIPES.items():
                yield Job(
                    "recipe",
                    "insects10",
                    what,
                    seed,
                    f"{SMALL} --epochs {EPOCHS['insects10']} {flags} {tail}",
                )


def pretrain(out: Path) -> Path:
    """A run on cifar10_jpg that the others start from."""
    flags = f"{SMALL} --epochs {PRETRAIN_EPOCHS} --threads 1 --seed 1"
    trained("cifar10_jpg", flags, unpacked("cifar10_jpg", out), out)
    return out / "cifar10_jpg"


def table(rows: list[tuple[Job, dict[str, Any]]], group: str) -> list[str]:
    """Markdown: mean and standard deviation over the seeds of every row of ``group``."""
    lines = ["| data | what | test accuracy | seeds | n | CPU s per run |", "|---|---|---|---|---|---|"]
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for job, row in rows:
        if job.group == group:
            found.setdefault((job.data, job.what), []).append(row)
    for (data, what), runs in found.items():
        values = [100 * run["accuracy"] for run in runs]
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        cpu = statistics.mean(run["cpu_s"] for run in runs)
        lines.append(
            f"| {data} | {what} | {statistics.mean(values):.2f} %{spread} | {len(runs)} "
            f"| {runs[0]['n']} | {cpu:.0f} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("optimiser", "transfer", "recipe"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=OUT / "recipes")
    parser.add_argument(
        "--pretrained", type=Path, help="a finished 64 px run on cifar10_jpg (default: train one)"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    pretrained = (args.pretrained or pretrain(args.out)).resolve()
    rows = []
    for job in jobs(args.seeds, pretrained, args.only):
        data, flags = data_folder(job.data), job.flags
        if (data / "split.csv").exists():
            flags += f" --split-file {data / 'split.csv'}"
        rows.append((job, trained(job.name, flags, data, args.out)))
    for group in dict.fromkeys(job.group for job, _ in rows):
        print(f"\n{group}", *table(rows, group), sep="\n")
    result = [{**row, "group": job.group, "data": job.data, "what": job.what} for job, row in rows]
    start = json.loads((pretrained / "run.json").read_text(encoding="utf-8"))["results"]
    save("recipes", {"pretrained": start, "rows": result})


if __name__ == "__main__":
    main()
