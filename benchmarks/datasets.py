"""Accuracy on real data within a stated budget: the shipped commands, one thread each, two runs at a time.

    python benchmarks/datasets.py [--only mnist|insects10|bugs7|mosquito6] [--out FOLDER] [--jobs 2]

LeNet-5 on MNIST with the default settings and three seeds; then train, export, quantise and evaluate of
LeNet-5, MobileNetV2, MobileNetV3-Small and ResNet-18 on three insect sets, all from scratch (no
pretrained weights). Epochs are chosen so that a run takes about six CPU minutes; nothing was chosen by
looking at a test split, which every run uses once, at its end. Finished runs are kept, so that an
interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common import OUT, data_folder, imago, machine, save

# (data set, model, flags); a split file is added where the set has one
PHOTO = {
    "insects10": {
        "lenet5": "--size 64 --epochs 60",
        "mobilenet_v3_small": "--size 64 --stem 0 --epochs 30",
        "mobilenet_v2": "--size 64 --stem 0 --epochs 12",
        "resnet18": "--size 64 --stem 0 --epochs 6",
    },
    "bugs7": {
        "lenet5": "--size 64 --epochs 80",
        "mobilenet_v3_small": "--size 96 --stem 0 --epochs 60",
        "mobilenet_v2": "--size 96 --stem 0 --epochs 60",
        "resnet18": "--size 96 --stem 0 --epochs 30",
    },
    "mosquito6": {
        "lenet5": "--size 64 --epochs 80",
        "mobilenet_v3_small": "--size 96 --stem 0 --epochs 60",
        "mobilenet_v2": "--size 96 --stem 0 --epochs 30",
        "resnet18": "--size 96 --stem 0 --epochs 10",
    },
}
SEEDS = {"mnist": (1, 2, 3)}
BATCH = {"bugs7": "--batch-size 16", "mosquito6": "--batch-size 32"}


def jobs(only: str | None) -> list[tuple[str, str, int, list[str]]]:
    """(data set, model, seed, flags) of every run."""
    wanted = [("mnist", "lenet5", seed, []) for seed in SEEDS["mnist"]]
    for name, models in PHOTO.items():
        for model, flags in models.items():
            extra = f"{flags} {BATCH.get(name, '')}".split()
            wanted += [(name, model, seed, extra) for seed in SEEDS.get(name, (1,))]
    return [job for job in wanted if only in (None, job[0])]


def one(job: tuple[str, str, int, list[str]], out: Path) -> dict[str, Any]:
    """Train, export, quantise and evaluate; the result is kept beside the run."""
    name, model, seed, flags = job
    folder = out / f"{name}-{model}-{seed}"
    kept = folder.with_suffix(".json")
    if kept.exists():
        return dict(json.loads(kept.read_text(encoding="utf-8")))
    data = data_folder(name)
    split = ["--split-file", str(data / "split.csv")] if (data / "split.csv").exists() else []
    common = ["--model", model, "--seed", str(seed), "--threads", "1", *flags, *split]
    if (folder / "checkpoint.safetensors").exists():
        trained = imago("train", "--resume", str(folder))
    else:
        trained = imago("train", str(data), "--out", str(folder), *common)
    fp32, int8 = folder / "fp32.onnx", folder / "int8.onnx"
    imago("export", str(folder), "-o", str(fp32), "--force")
    quantised = imago("quantize", str(fp32), "--calibrate", str(data), "-o", str(int8), "--force", *split)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    row = {
        "data": name,
        "model": model,
        "seed": seed,
        "flags": " ".join(flags),
        "epochs": trained["epochs"],
        "train_seconds": metrics["seconds"],
        "n": trained["n"],
        "torch": trained["accuracy"],
        "fp32": imago("evaluate", str(fp32), str(data), "--split", "test", *split)["accuracy"],
        "int8": imago("evaluate", str(int8), str(data), "--split", "test", *split)["accuracy"],
        "int8_recommended": quantised["recommended"],
        "int8_reason": quantised["reason"],
        "recall": {c["label"]: c["recall"] for c in trained["test"]["per_class"]},
        "interval": trained["test"]["interval_95"],
    }
    kept.write_text(json.dumps(row, indent=1, ensure_ascii=False), encoding="utf-8")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("mnist", *PHOTO))
    parser.add_argument("--out", type=Path, default=OUT / "datasets")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    wanted = jobs(args.only)
    rows: list[dict[str, Any]] = []
    with ThreadPoolExecutor(args.jobs) as pool:
        for row in pool.map(lambda job: one(job, args.out), wanted):
            rows.append(row)
            print(
                f"{row['data']:<10}{row['model']:<20}seed {row['seed']}  {row['epochs']:>3} epochs "
                f"{row['train_seconds'] / 60:5.1f} min  n {row['n']:>5}  torch {row['torch']:7.2%}  "
                f"fp32 {row['fp32']:7.2%}  int8 {row['int8']:7.2%}",
                flush=True,
            )
    save(
        "datasets" if args.only is None else f"datasets-{args.only}", {"rows": rows, "cpu": machine()["cpu"]}
    )


if __name__ == "__main__":
    main()
