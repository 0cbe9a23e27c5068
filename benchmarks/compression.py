"""What compression costs and gains: every shipped file's accuracy, size and speed beside the usual recipe's.

    python benchmarks/compression.py [--only NAME …] [--stage train|files|judge|time|large|table]

LeNet-5 on MNIST, and MobileNetV2, MobileNetV3-Small and ResNet-18 on cifar10_jpg (10,000 test pictures)
and insects10 at 64 px, from scratch: each as fp32, int8, pruned and pruned + int8, in ONNX and TFLite, made
by the shipped commands; and the same by the usual recipes (``compression_files.py``). Accuracy is that of
the file, on the test split, which nothing before saw; drops are paired, against the subject's fp32.onnx.
Speed: p50 of the engine alone, one thread, every file in turn with its own fp32.onnx; also at 224 px. On
hardware: not measured. Every step leaves a file, so that an interrupted benchmark goes on where it was.

CPU budget: about three hours on one core for all of it (retraining and the usual recipes included).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from common import OUT, data_folder, imago, machine, save, unpacked
from compression_files import OURS, SUBJECTS, USUAL, Maker, Subject, at_side, export

LARGE = 224
ROUNDS, ROUND_S = 5, 1.0
LARGE_FILES = (
    "fp32.onnx",
    "int8.onnx",
    "pruned.onnx",
    "pruned-int8.onnx",
    "fp32.tflite",
    "pruned-int8.tflite",
)


def data_of(subject: Subject, out: Path) -> Path:
    """The data set's folder."""
    packed = subject.data == "cifar10_jpg"
    return unpacked(subject.data, out) if packed else data_folder(subject.data)


def kept(path: Path, make: Any) -> Any:
    """A result that stands in ``path`` already, or is made and written there."""
    if not path.exists():
        path.write_text(json.dumps(make(), indent=1), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def judged(model: Path, data: Path) -> np.ndarray:
    """The file's answers on the test split, ``(n,)``, in the split's own order."""
    answers = model.with_suffix(f"{model.suffix}.answers.npy")
    if not answers.exists():
        from imago.edge_runtime.classifier import Classifier
        from imago.quantize.calibration import pictures
        from imago.train.data.layouts import load_dataset

        with Classifier(model) as classifier:
            test = pictures(load_dataset(data), "test", classifier.spec)
            questions = test.tensors(classifier.spec.input.layout)
            given = np.array([classifier.engine.run(row[None]).argmax() for row in questions])
        np.save(answers, np.stack([given, test.labels]))
    return np.load(answers)


def accuracy(folder: Path, name: str, data: Path) -> dict[str, Any]:
    """Accuracy on the test split, and what it lost against the subject's fp32.onnx."""
    from imago.quantize.paired import paired_drop

    plain, mine = judged(folder / "fp32.onnx", data), judged(folder / name, data)
    assert (plain[1] == mine[1]).all()
    drop = paired_drop(mine[1], plain[0], mine[0])
    return {"accuracy": float((mine[0] == mine[1]).mean()), **drop.to_dict()}


def speed(plain: Path, other: Path) -> dict[str, Any]:
    """How many times as fast as ``plain``: median and range over rounds; p50 of both in µs."""
    from imago.edge_runtime.bench import interleaved
    from imago.edge_runtime.engines.select import load_engine

    engines = {"plain": load_engine(plain, 1), "other": load_engine(other, 1)}
    rng = np.random.default_rng(0)
    tensors = {k: rng.integers(0, 256, e.input_shape, dtype=np.uint8) for k, e in engines.items()}
    calls = {k: (lambda e=e, t=tensors[k]: e.run(t)) for k, e in engines.items()}
    once = float(np.median(interleaved(calls, runs=10, warmup=5)["plain"])) / 1e9
    runs = int(np.clip(ROUND_S / once, 12, 300))
    medians = [
        {k: float(np.median(v)) / 1000 for k, v in interleaved(calls, runs=runs).items()}
        for _ in range(ROUNDS)
    ]
    ratios = [m["plain"] / m["other"] for m in medians]
    return {
        "faster": statistics.median(ratios),
        "range": [min(ratios), max(ratios)],
        "us": statistics.median(m["other"] for m in medians),
        "plain_us": statistics.median(m["plain"] for m in medians),
    }


def macs(run: Path) -> int:
    """Multiply–accumulates of a run's network."""
    from imago.train.models.registry import ModelConfig
    from imago.train.models.summary import describe, totals
    from imago.train.run import Run

    return int(totals(describe(ModelConfig.from_dict(Run.load(run).model)))[1])


def few(data: Path, folder: Path) -> Path:
    """Eight pictures of each class and split, in ``folder``: enough where only latency is asked for."""
    if not folder.exists():
        for path in sorted(data.glob("*/*/*.jpg")):
            target = folder / path.relative_to(data)
            target.parent.mkdir(parents=True, exist_ok=True)
            if sum(1 for _ in target.parent.iterdir()) < 8:
                shutil.copyfile(path, target)
    return folder


def large_file(maker: Maker, name: str) -> Path:
    """The same network at 224 px: for its latency, which depends on no weights."""
    folder = maker.folder / str(LARGE)
    path = folder / name
    if not path.exists():
        pruned = name.startswith("pruned")
        run = at_side(
            maker.pruned() if pruned else maker.run(), LARGE, folder / ("pruned" if pruned else "run")
        )
        if "int8" not in name:
            export(run, path)
        else:
            source = large_file(maker, name.replace("pruned-int8", "pruned").replace("int8", "fp32"))
            flags = [
                "--count",
                "8",
                *(["--precision", "int8", "--no-mixed"] if path.suffix == ".onnx" else []),
            ]
            pictures = few(maker.data, maker.folder.parent / f"{maker.subject.data}-few")
            imago("quantize", str(source), "--calibrate", str(pictures), "-o", str(path), *flags)
    return path


def rows(maker: Maker, names: list[str]) -> Iterator[dict[str, Any]]:
    """One row per file, of what is known so far."""
    for name in names:
        path = maker.folder / name
        if not path.exists():
            continue
        run = {"usual-pruned": "usual", "pruned": "pruned"}.get(
            name.split(".")[0].removesuffix("-int8"), "run"
        )
        row = {"subject": maker.subject.name, "file": name, "bytes": path.stat().st_size}
        row["macs"] = macs(maker.folder / run)
        row.update(accuracy(maker.folder, name, maker.data))
        for key, place in (("speed", maker.folder), ("speed_224", maker.folder / str(LARGE))):
            times = place / f"{name}.speed.json"
            row[key] = json.loads(times.read_text(encoding="utf-8")) if times.exists() else None
        yield row


def line(row: dict[str, Any], plain: dict[str, Any]) -> str:
    """A row in Markdown."""
    low, high = row["interval_points"]
    same = row["file"] == "fp32.onnx"
    drop = "" if same else f"{0.0 - row['drop_points']:+.2f} ({0.0 - high:+.2f} to {0.0 - low:+.2f})"
    times = [f"{row[k]['faster']:.2f}×" if row[k] else "" for k in ("speed", "speed_224")]
    us = f"{row['speed']['us']:.0f}" if row["speed"] else ""
    smaller = plain["bytes"] / row["bytes"]
    return (
        f"| {row['file']} | {row['accuracy']:.2%} | {drop} | {row['bytes'] / 1000:.1f} | {smaller:.1f}× "
        f"| {row['macs'] / 1e6:.2f} | {us} | {times[0]} | {times[1]} |"
    )


HEAD = (
    "| file | test accuracy | points against fp32.onnx (95 % interval) | kB | smaller | M MACs | p50 µs "
    "| faster | faster at 224 px |\n|---|---|---|---|---|---|---|---|---|"
)


def table(makers: list[Maker], names: list[str]) -> list[dict[str, Any]]:
    """Print every subject's rows; returns them."""
    found = []
    for maker in makers:
        own = list(rows(maker, names))
        if not own:
            continue
        print(f"\n### {maker.subject.model} on {maker.subject.data}, n = {own[0]['n']}\n{HEAD}")
        for row in own:
            print(line(row, own[0]))
        found += own
    return found


def versus(makers: list[Maker]) -> list[dict[str, Any]]:
    """Ours against the usual recipe's file of the same name, on the same pictures; printed and returned."""
    from imago.quantize.paired import paired_drop

    print("\n### Ours against the usual recipe\n" + VERSUS)
    found = []
    for maker in makers:
        for theirs in USUAL:
            ours, folder = theirs.removeprefix("usual-"), maker.folder
            files = [folder / ours, folder / theirs]
            if not all(path.exists() for path in files):
                continue
            mine, usual = (judged(path, maker.data) for path in files)
            drop = paired_drop(mine[1], usual[0], mine[0]).to_dict()
            times = [path.with_name(f"{path.name}.speed.json") for path in files]
            speeds = [json.loads(t.read_text(encoding="utf-8"))["faster"] for t in times if t.exists()]
            row = {
                "subject": maker.subject.name,
                "file": ours,
                **drop,
                "size": files[0].stat().st_size / files[1].stat().st_size,
                "time": speeds[1] / speeds[0] if len(speeds) == 2 else None,
            }
            found.append(row)
            low, high = drop["interval_points"]
            time = f"{row['time']:.2f}" if row["time"] else ""
            print(
                f"| {row['subject']} | {ours} | {0.0 - drop['drop_points']:+.2f} ({0.0 - high:+.2f} to "
                f"{0.0 - low:+.2f}) | {row['size']:.2f} | {time} |"
            )
    return found


VERSUS = (
    "| subject | file | accuracy, points more (95 % interval) | size, theirs = 1 | time, theirs = 1 |\n"
    "|---|---|---|---|---|"
)
STAGES = ("train", "files", "judge", "time", "large", "table")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=[s.name for s in SUBJECTS])
    parser.add_argument("--stage", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--no-usual", action="store_true", help="leave out the usual recipes")
    parser.add_argument("--out", type=Path, default=OUT / "compression")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    names = [*OURS, *([] if args.no_usual else USUAL)]
    makers = []
    for subject in SUBJECTS:
        if args.only is None or subject.name in args.only:
            folder = args.out / subject.name
            folder.mkdir(exist_ok=True)
            makers.append(Maker(subject, data_of(subject, args.out), folder))
    for maker in makers:
        work(maker, names, args.stage)
    if "table" in args.stage:
        found = {"rows": table(makers, names), "versus": [] if args.no_usual else versus(makers)}
        save("compression", {**found, "cpu": machine()["cpu"]})


def work(maker: Maker, names: list[str], stages: list[str]) -> None:
    """The stages of one subject."""
    if "train" in stages:
        maker.pruned()
        if any(name in USUAL for name in names):
            maker.usual_pruned()
    for name in names if "files" in stages else ():
        maker.make(name)
    for name in names if "judge" in stages else ():
        judged(maker.folder / name, maker.data)
    for name in names if "time" in stages else ():
        path = maker.folder / name
        kept(path.with_name(f"{name}.speed.json"), lambda p=path: speed(maker.folder / "fp32.onnx", p))
    if "large" in stages and maker.subject.data == "cifar10_jpg":
        plain = large_file(maker, "fp32.onnx")
        for name in LARGE_FILES:
            path = large_file(maker, name)
            kept(path.with_name(f"{name}.speed.json"), lambda p=path: speed(plain, p))


if __name__ == "__main__":
    main()
