"""What the runtime adds to the bare engine call: frame in memory → prediction, interleaved, one thread.

    python benchmarks/runtime.py [--rounds 5] [--runs 400]

MobileNetV3-Small 224 from 640×480 BGR and from a frame that already has the model's size; LeNet-5 from a
160×120 grey plane (with and without OpenCV loaded) and from 640×480 BGR. Random weights: time does not
depend on them. Each round alternates the two calls run by run; the ratio of the medians of each round is
taken, and the median over the rounds is reported with its range.

Then end to end, through the loop and its camera thread; the age of pictures when the engine is slower than
the camera; the processor time at 10 frames a second (runtime_live.py).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, machine, save
from runtime_live import age_when_slow, cpu_at, end_to_end

FRAMES = {
    "640x480 bgr": (640, 480, "bgr"),
    "model size": (0, 0, "bgr"),
    "160x120 gray": (160, 120, "gray"),
}
CASES = (
    ("mobilenet_v3_small", 224, "640x480 bgr", True),
    ("mobilenet_v3_small", 224, "model size", True),
    ("lenet5", 32, "160x120 gray", True),
    ("lenet5", 32, "160x120 gray", False),
    ("lenet5", 32, "640x480 bgr", True),
)


def make_models(folder: Path) -> None:
    """Both networks with random weights, through the real export."""
    from imago.edge_runtime.spec import InputSpec, ModelSpec
    from imago.export.deployable import Deployable
    from imago.export.onnx_export import export_onnx
    from imago.train.models.registry import build_model

    for name, side, channels in (("mobilenet_v3_small", 224, 3), ("lenet5", 32, 1)):
        built = build_model(name, 10, channels=channels, size=(side, side))
        spec = ModelSpec(
            labels=tuple(f"class {k}" for k in range(10)),
            input=InputSpec(side, side, channels, "gray" if channels == 1 else "rgb"),
            name=name,
        )
        pictures = np.random.default_rng(0).integers(0, 256, (4, side, side, channels), dtype=np.uint8)
        deployable = Deployable(built.module.eval(), channels, built.mean, built.std, 1.0)
        export_onnx(deployable, spec, pictures, folder / f"{name}.onnx")


def measure(model: Path, frame_name: str, opencv: bool, runs: int) -> dict[str, float]:
    """One case in this process: medians in µs of the bare engine call and of frame → prediction."""
    if opencv:
        import cv2

        cv2.setNumThreads(1)
    from imago.edge_runtime.bench import interleaved
    from imago.edge_runtime.classifier import Classifier
    from imago.edge_runtime.types import Frame

    with Classifier(model, threads=1) as classifier:
        width, height, color = FRAMES[frame_name]
        width, height = (width, height) if width else classifier.spec.input.size
        shape = (height, width) if color == "gray" else (height, width, 3)
        image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        frame = Frame(image, color)  # type: ignore[arg-type]
        tensor = classifier.prepare(frame).copy()
        session, wanted = classifier.engine._session, classifier.engine._wanted  # type: ignore[attr-defined]
        feed = {classifier.engine._input: tensor}  # type: ignore[attr-defined]
        calls: dict[str, Callable[[], object]] = {
            "bare": lambda: session.run(wanted, feed),
            "whole": lambda: classifier.predict(frame),
        }
        times = interleaved(calls, runs=runs, warmup=50)
        loaded = "cv2" in sys.modules
    if loaded != opencv:
        raise RuntimeError("OpenCV was loaded behind the benchmark's back")
    return {name: statistics.median(values) / 1e3 for name, values in times.items()}


def in_fresh_process(model: Path, frame: str, opencv: bool, runs: int) -> dict[str, float]:
    """``measure`` in a process of its own, one thread everywhere."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--one", str(model), frame, str(int(opencv)), str(runs)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def call_rows(folder: Path, rounds: int, runs: int) -> list[dict[str, Any]]:
    """Frame in memory → prediction, against the bare engine call."""
    rows: list[dict[str, Any]] = []
    measured: dict[int, list[dict[str, float]]] = {k: [] for k in range(len(CASES))}
    for _ in range(rounds):
        for k, (name, _side, frame, opencv) in enumerate(CASES):
            measured[k].append(in_fresh_process(folder / f"{name}.onnx", frame, opencv, runs))
    print(
        f"{'model':<20}{'frame':<14}{'OpenCV':<8}{'bare µs':>9}{'whole µs':>10}{'ratio':>8}{'added µs':>10}"
    )
    for k, (name, _side, frame, opencv) in enumerate(CASES):
        ratios = [m["whole"] / m["bare"] for m in measured[k]]
        added = [m["whole"] - m["bare"] for m in measured[k]]
        row = {
            "model": name,
            "frame": frame,
            "opencv": opencv,
            "bare_us": statistics.median(m["bare"] for m in measured[k]),
            "whole_us": statistics.median(m["whole"] for m in measured[k]),
            "ratio": statistics.median(ratios),
            "ratio_range": [min(ratios), max(ratios)],
            "added_us": statistics.median(added),
            "added_us_range": [min(added), max(added)],
        }
        rows.append(row)
        print(
            f"{name:<20}{frame:<14}{'yes' if opencv else 'no':<8}{row['bare_us']:>9.0f}"
            f"{row['whole_us']:>10.0f}{row['ratio']:>8.3f}{row['added_us']:>10.1f}"
        )
    return rows


LIVE: dict[str, tuple[str, tuple[int, int] | None, float | None]] = {
    "ISP-sized": ("bgr", None, 1.05),
    "640x480 YUYV": ("yuyv", (640, 480), 1.12),
    "640x480, untouched": ("bgr", (640, 480), None),
}


def live_in_fresh_process(model: Path, frame: str, runs: int) -> dict[str, float]:
    """``end_to_end`` in a process of its own, one thread everywhere; OpenCV loaded, as with a USB camera."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--live", str(model), frame, str(runs)]
    return dict(
        json.loads(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)
    )


def live_rows(model: Path, rounds: int, runs: int) -> list[dict[str, Any]]:
    """Frame handed over → prediction, against the bare engine beside it."""
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in LIVE}
    for _ in range(rounds):
        for name in LIVE:
            measured[name].append(live_in_fresh_process(model, name, runs))
    rows = []
    for name, (_kind, _size, bar) in LIVE.items():
        ratios = [m["whole"] / m["bare"] for m in measured[name]]
        row = {
            "frame": name,
            "bar": bar,
            "bare_us": statistics.median(m["bare"] for m in measured[name]),
            "whole_us": statistics.median(m["whole"] for m in measured[name]),
            "decided_us": statistics.median(m["decided"] for m in measured[name]),
            "ratio": statistics.median(ratios),
            "ratio_range": [min(ratios), max(ratios)],
        }
        rows.append(row)
        print(
            f"end to end, {name:<20} bare {row['bare_us']:>6.0f} µs  handed over → answer "
            f"{row['whole_us']:>6.0f} µs  ratio {row['ratio']:.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
            f"{f' [≤ {bar}]' if bar else ''}  → decided {row['decided_us']:.0f} µs"
        )
    return rows


def live_figures(model: Path) -> dict[str, Any]:
    """Ages under load, and processor time at a cap."""
    age = age_when_slow(model)
    print("camera faster than the engine: " + ", ".join(f"{k} {v:.1f}" for k, v in age.items()))
    cpu = {motion: cpu_at(model, 10, motion) for motion in ("off", "on")}
    for motion, row in cpu.items():
        used, fps = row["cpu_percent"], row["fps"]
        print(f"--max-fps 10 --motion {motion}: {used:.1f} % of a core at {fps:.1f} frames/s")
    return {"age_when_slow": age, "cpu_at_10_fps": cpu}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--live", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=("calls", "live"))
    args = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT / ".dev")
    if args.live:
        model, frame, runs = args.live
        import cv2

        cv2.setNumThreads(1)
        kind, size, _bar = LIVE[frame]
        print(json.dumps(end_to_end(Path(model), kind, size, int(runs))))
        return
    if args.one:
        model, frame, opencv, runs = args.one
        print(json.dumps(measure(Path(model), frame, opencv == "1", int(runs))))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_models(Path(folder))
        result: dict[str, Any] = {"rounds": args.rounds, "runs": args.runs}
        print(f"{machine()['cpu']}; {args.rounds} rounds of {args.runs} runs")
        if args.only != "live":
            result["rows"] = call_rows(Path(folder), args.rounds, args.runs)
        if args.only != "calls":
            model = Path(folder) / "mobilenet_v3_small.onnx"
            result["end_to_end"] = live_rows(model, args.rounds, args.runs)
            result |= live_figures(model)
    save("runtime", result)


if __name__ == "__main__":
    main()
