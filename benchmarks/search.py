"""``imago search`` on insects10 against ``imago train`` of the same time, and what a second worker brings.

    python benchmarks/search.py [--minutes 20] [--scaling-minutes 3] [--parts search,default,mobile,scaling]

- search: ``imago search`` with a budget of 20 minutes on all cores, everything included.
- default: ``imago train`` as it is called without any flag (LeNet-5, 32 px), for as many epochs as fit into
  the same time; mobile: the network that is recommended for photos, at the pictures' own 64 px, also for the
  same time. Both keep the epoch that is best on validation, as always.
- Accuracies are of the exported files on the test split (500 pictures that nothing was chosen by), paired:
  difference with its 95 % interval. Latencies of all three files are measured in turns.
- scaling: one and two workers of one thread on one storage, fixed work for each trial (LeNet-5, 2 epochs),
  same settings, same time: trials that came to their end.

Each part lands in ``benchmarks/out/search/`` and is not done again: an interrupted run is called again.
``--fresh`` begins anew. The machine must have nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import OUT, ROOT, data_folder, imago, save

from imago.edge_runtime.bench import interleaved
from imago.edge_runtime.classifier import Classifier
from imago.quantize.calibration import pictures
from imago.quantize.paired import paired_drop
from imago.train.data.layouts import load_dataset
from imago.train.metrics import wilson
from imago.workflow.search.session import SEARCH_SHARE

PLACE = OUT / "search"
DATA = "insects10"
TRAINED: dict[str, tuple[str, ...]] = {
    "default": (),
    "mobile": ("--model", "mobilenet_v3_small", "--size", "64"),
}
RESERVE_S = 25.0  # of a training's time for start, report and export
PROBE_EPOCHS = 3


def once(name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The part's result, made now where it is not there yet."""
    path = PLACE / f"{name}.json"
    if not path.is_file():
        print(f"{name} …", file=sys.stderr, flush=True)
        result = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def searched(minutes: float, seed: int) -> dict[str, Any]:
    """One search with that budget, or what is left of an interrupted one."""
    out = PLACE / "search"
    if (out / "search.json").is_file():
        args = ["--resume", str(out)]
    else:
        shutil.rmtree(out, ignore_errors=True)
        args = [str(data_folder(DATA)), "--budget", f"{minutes}m", "-o", str(out), "--seed", str(seed)]
    began = time.monotonic()
    done = imago("search", *args)
    kept = ("reason", "winner", "seconds", "model")
    return {
        **{key: done[key] for key in kept},
        "wall_s": time.monotonic() - began,
        "trials": len(done["trials"]),
    }


def trained(name: str, minutes: float, seed: int) -> dict[str, Any]:
    """``imago train`` for as many epochs as fit: measured on a few, then planned, then counted."""
    flags, data = TRAINED[name], str(data_folder(DATA))
    out, probe = PLACE / name, PLACE / f"{name}-probe"
    seconds = minutes * 60 - RESERVE_S
    if not (out / "run.json").is_file():
        shutil.rmtree(probe, ignore_errors=True)
        shutil.rmtree(out, ignore_errors=True)
        imago("train", data, *flags, "--epochs", str(PROBE_EPOCHS), "--out", str(probe))
        rows = [json.loads(line) for line in (probe / "metrics.jsonl").read_text().splitlines()]
        each = float(np.median([row["seconds"] for row in rows[1:]])) * 1.02  # validation beside it
        epochs = max(1, int(seconds / each))
        imago("train", data, *flags, "--epochs", str(epochs), "--seed", str(seed), "--out", str(out))
    elif not (out / "metrics.json").is_file():
        imago("train", "--resume", str(out))
    figures = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    model = out / f"{name}.onnx"
    imago("export", str(out), "-o", str(model), "--force")
    return {"epochs": figures["epochs"], "seconds": figures["seconds"], "model": str(model)}


def compared(models: dict[str, Path]) -> dict[str, Any]:
    """Test accuracy of each file, the searched one against the others picture by picture, and latencies."""
    dataset = load_dataset(data_folder(DATA))
    answers, truth, calls, open_files = {}, None, {}, []
    for name, path in models.items():
        classifier = Classifier(path)
        open_files.append(classifier)
        test = pictures(dataset, "test", classifier.spec)
        tensors = test.tensors(classifier.spec.input.layout)
        answers[name] = np.array([classifier.engine.run(row[None]).argmax() for row in tensors], np.int64)
        truth = test.labels
        first = np.ascontiguousarray(tensors[:1])
        calls[name] = lambda engine=classifier.engine, tensor=first: engine.run(tensor)
    assert truth is not None
    times = interleaved(calls, runs=500)
    for classifier in open_files:
        classifier.close()
    rows = {}
    for name in models:
        right = int((answers[name] == truth).sum())
        rows[name] = {
            "accuracy": right / len(truth),
            "interval_95": list(wilson(right, len(truth))),
            "p50_us": float(np.median(times[name])) / 1000,
        }
        if name != "search":
            drop = paired_drop(truth, answers[name], answers["search"])
            low, high = drop.interval
            rows[name]["search_gains_points"] = -drop.drop
            rows[name]["gain_interval_95"] = [-high, -low]
    return {"n": len(truth), "files": rows}


def scaling(minutes: float, rounds: int) -> dict[str, Any]:
    """Finished trials with one and with two workers, in turns, each on a storage of its own."""
    counts: dict[str, list[int]] = {"1": [], "2": []}
    for number in range(rounds):
        for workers in ("1", "2") if number % 2 == 0 else ("2", "1"):
            counts[workers].append(finished(int(workers), minutes, number))
            print(f"  round {number + 1}/{rounds}, {workers}: {counts[workers][-1]}", file=sys.stderr)
    ratios = [b / max(1, a) for a, b in zip(counts["1"], counts["2"], strict=True)]
    return {"trials": counts, "ratios": ratios, "ratio": float(np.median(ratios)), "minutes": minutes}


def finished(workers: int, minutes: float, number: int) -> int:
    """How many trials ``workers`` one-thread workers bring to their end in that time."""
    out = PLACE / f"scaling-{workers}-{number}"
    shutil.rmtree(out, ignore_errors=True)
    flags = ("--models", "lenet5", "--epochs", "2", "--workers", str(workers), "--threads", "1")
    # The search's own share of a budget, so that the trials have these minutes; then nothing more is wanted.
    budget = f"{minutes * 60 / SEARCH_SHARE:.0f}s"
    command = [sys.executable, "-m", "imago.cli.main", "search", str(data_folder(DATA)), *flags]
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en"}
    process = subprocess.Popen(
        [*command, "--budget", budget, "--seed", str(number), "-o", str(out)],
        env=env,
        stdout=subprocess.DEVNULL,
    )
    state: dict[str, Any] = {}
    while process.poll() is None:
        time.sleep(0.5)
        if (out / "progress.json").is_file():
            state = json.loads((out / "progress.json").read_text(encoding="utf-8"))
            if state["state"] == "training":
                process.send_signal(2)
                process.wait()
    counts = json.loads((out / "progress.json").read_text(encoding="utf-8"))["counts"]
    return int(counts["complete"] + counts["stopped"])


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--scaling-minutes", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=1, help="of the scaling")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", default="search,default,mobile,scaling")
    parser.add_argument("--fresh", action="store_true")
    args = parser.parse_args()
    if args.fresh:
        shutil.rmtree(PLACE, ignore_errors=True)
    parts, result = args.parts.split(","), {"minutes": args.minutes, "seed": args.seed}
    if "search" in parts:
        result["search"] = once("search", lambda: searched(args.minutes, args.seed))
    for name in TRAINED:
        if name in parts:
            result[name] = once(name, lambda name=name: trained(name, args.minutes, args.seed))
    made = {name: Path(result[name]["model"]) for name in ("search", *TRAINED) if name in result}
    if len(made) > 1:
        result["compared"] = compared(made)
        for name, row in result["compared"]["files"].items():
            low, high = row["interval_95"]
            print(
                f"{name:<9} {row['accuracy']:6.1%} ({low:.1%} to {high:.1%})  {row['p50_us'] / 1000:7.3f} ms"
            )
    if "scaling" in parts:
        result["scaling"] = once("scaling", lambda: scaling(args.scaling_minutes, args.rounds))
        print(f"two workers: {result['scaling']['ratio']:.2f}× the trials of one (goal 1.8)")
    save("search", result)


if __name__ == "__main__":
    main()
