"""What a teacher is worth: half-width MobileNetV3-Small on cifar10_jpg with and without, paired by seed.

    python benchmarks/distillation.py [--seeds 5] [--out FOLDER] [--jobs 1]

One ResNet-18 learns first. The student then learns twice per seed: from the labels, and from labels and
teacher; the pictures, their changes, the epochs and all other flags are the same. The gain is the mean of
the paired differences, with Student's 95 % interval over the seeds. Each run uses the test split (10,000
pictures) once, at its end; epochs, learning rate, weight and temperature were chosen on pictures held out
of the training split (docs/results.md). CPU budget: 25 minutes on one core for everything. Finished runs
are kept, and interrupted ones resumed: the benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common import OUT, ROOT, machine, save, unpacked

COMMON = "--size 32 --threads 1"
TEACHER = "--model resnet18 --stem 0 --epochs 7 --seed 11"
STUDENT = "--model mobilenet_v3_small --width 0.5 --stem 1 --epochs 6 --lr 0.004"
DISTILL = "--distill-weight 0.9 --distill-temperature 4"
T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def trained(name: str, flags: str, data: Path, out: Path) -> dict[str, Any]:
    """One run of ``imago train``, begun, resumed or finished before: its test accuracy and CPU seconds."""
    folder, kept = out / name, out / f"{name}.json"
    if kept.exists():
        return dict(json.loads(kept.read_text(encoding="utf-8")))
    begun, done = (folder / "run.json").exists(), (folder / "metrics.json").exists()
    command = ["--resume", str(folder)] if begun else [str(data), "--out", str(folder), *flags.split()]
    cpu = 0.0 if done else run(command, out / f"{name}.log")
    test = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["test"]
    row = {"name": name, "flags": flags, "n": test["n"], "accuracy": test["accuracy"], "cpu_s": cpu}
    kept.write_text(json.dumps(row, indent=1), encoding="utf-8")
    print(f"{name:<16}{row['accuracy']:7.2%} of {row['n']}  {cpu / 60:5.1f} CPU min", flush=True)
    return row


def run(arguments: list[str], log: Path) -> float:
    """``imago train …``; returns its CPU seconds (of this part, where it is resumed)."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "imago.cli.main", "train", *arguments]
    with log.open("a", encoding="utf-8") as file:
        process = subprocess.Popen(command, env=env, stdout=file, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)} failed; see {log}")
    return usage.ru_utime + usage.ru_stime


def gain(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Mean, spread and 95 % interval (Student's t over the seeds) of the paired differences, in points."""
    points = [100 * (taught - alone) for alone, taught in pairs]
    mean, spread = statistics.mean(points), statistics.stdev(points)
    half = T_95[len(points) - 1] * spread / len(points) ** 0.5
    return {"mean": mean, "sd": spread, "low": mean - half, "high": mean + half}


def table(pairs: list[tuple[float, float]]) -> list[str]:
    """Markdown: one row per seed, means and standard deviations last."""
    lines = ["| seed | alone | with teacher | gain, points |", "|---|---|---|---|"]
    for seed, (alone, taught) in enumerate(pairs, 1):
        lines.append(f"| {seed} | {alone:.2%} | {taught:.2%} | {100 * (taught - alone):+.2f} |")
    result = gain(pairs)
    means = [f"{statistics.mean(v):.2%} ± {100 * statistics.stdev(v):.2f}" for v in zip(*pairs, strict=True)]
    lines.append(
        f"| **mean ± sd** | {means[0]} | {means[1]} | **{result['mean']:+.2f} ± {result['sd']:.2f}** "
        f"(95 % interval {result['low']:+.2f} to {result['high']:+.2f}) |"
    )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5, choices=range(2, 11))
    parser.add_argument("--out", type=Path, default=OUT / "distillation")
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    data = unpacked("cifar10_jpg", args.out)
    teacher = trained("teacher", f"{COMMON} {TEACHER}", data, args.out)
    taught = f"{DISTILL} --teacher {args.out / 'teacher'}"
    jobs = [
        (f"{kind}-{seed}", f"{COMMON} {STUDENT} --seed {seed} {more}".strip())
        for seed in range(1, args.seeds + 1)
        for kind, more in (("alone", ""), ("taught", taught))
    ]
    with ThreadPoolExecutor(args.jobs) as pool:
        rows = list(pool.map(lambda job: trained(*job, data, args.out), jobs))
    pairs = [(a["accuracy"], b["accuracy"]) for a, b in zip(rows[::2], rows[1::2], strict=True)]
    cpu = sum(row["cpu_s"] for row in (teacher, *rows)) / 60
    print(f"teacher {teacher['accuracy']:.2%}; {cpu:.1f} CPU minutes in all", *table(pairs), sep="\n")
    save(
        "distillation",
        {"teacher": teacher, "rows": rows, "gain_points": gain(pairs), "cpu": machine()["cpu"]},
    )


if __name__ == "__main__":
    main()
