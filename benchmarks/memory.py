"""Memory and start-up of the shipped runtime, each in fresh processes.

    python benchmarks/memory.py [--rounds 5] [--frames 100000] [--models FOLDER]

1. Peak RSS (VmHWM) of ``imago run`` on the synthetic camera, 300 frames: LeNet-5 with LiteRT and with ONNX
   Runtime, at 320×240 (what a camera is asked for when the model sees 32×32) and at 640×480; of a process
   that does nothing but load numpy and the engine and run it ("bare"); MobileNetV2 int8 with records and the
   live page while somebody looks at it.
2. Whether it grows: the slope of RSS over 100,000 frames of ``imago run`` with page and records, and its
   95 % interval, from a tenth of them on and over the second half (what fills up at first is no leak).
3. 200 frames through ``Classifier`` alone, process start to first prediction, ``imago --help``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

from common import ROOT, machine, save, slope
from memory_models import make_models

LOOK_S = 0.01
SETTLE = (0.1, 0.5)  # shares of the frames after which growth is counted: caches fill up first
BARE = {
    "onnx": """
import sys, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
feed = {session.get_inputs()[0].name: numpy.zeros(session.get_inputs()[0].shape, numpy.uint8)}
for _ in range(200): session.run(None, feed)
""",
    "tflite": """
import sys, numpy
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
detail = interpreter.get_input_details()[0]
for _ in range(200):
    interpreter.set_tensor(detail["index"], numpy.zeros(detail["shape"], detail["dtype"]))
    interpreter.invoke()
""",
}
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
    if frame.index >= 199:
        break
assert "cv2" not in sys.modules
peak = next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]
print(int(peak) / 1024, first)
"""
SAY_PEAK = 'print(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])'
CASES: tuple[tuple[str, str, tuple[str, ...], float | None], ...] = (
    ("run LeNet-5 LiteRT 320x240", "lenet5.tflite", ("--size", "320x240"), 48),
    ("run LeNet-5 ONNX Runtime 320x240", "lenet5.onnx", ("--size", "320x240"), 64),
    ("run LeNet-5 LiteRT 640x480", "lenet5.tflite", (), None),
    ("run LeNet-5 ONNX Runtime 640x480", "lenet5.onnx", (), None),
    ("run MobileNetV2 int8 LiteRT, page, records", "mobilenet_v2-int8.tflite", ("page",), 110),
    ("run MobileNetV2 int8 ONNX Runtime, page, records", "mobilenet_v2-int8.onnx", ("page",), 110),
)


def status_mb(process: int, key: str) -> float | None:
    """One figure of a process's memory; None: it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
            if line.startswith(key):
                return int(line.split()[1]) / 1024
    return None


def asked(url: str) -> tuple[bytes, str | None]:
    """What the page answers, and the number of its picture."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  our own address
        return answer.read(), answer.headers["X-Imago-Number"]


def run(model: Path, *more: str, watch: Callable[[subprocess.Popen[str], str | None], None]) -> None:
    """``imago run`` on the synthetic camera; watch: called with the process and its page's address."""
    command = [sys.executable, "-m", "imago.cli.main", "run", str(model), "--source", "synthetic", *more]
    process = subprocess.Popen(command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    page = None
    if "--web" in more:
        found = re.search(r"http://\S+", process.stdout.readline())
        page = found[0] if found else None
    import threading

    threading.Thread(target=process.stdout.read, daemon=True).start()  # else its pipe fills
    watch(process, page)
    if process.wait(600):
        raise RuntimeError(f"{' '.join(command)} failed")


def peak(model: Path, more: Sequence[str]) -> float:
    """Peak RSS in MB of 300 frames; with a page: while somebody looks at it, at 30 frames a second."""
    highest = 0.0

    def watch(process: subprocess.Popen[str], page: str | None) -> None:
        nonlocal highest
        number = 0
        while process.poll() is None:
            highest = max(highest, status_mb(process.pid, "VmHWM") or 0.0)
            with contextlib.suppress(OSError, HTTPException):  # it ends while it answers
                if page is not None:
                    number = int(asked(f"{page}api/frame?after={number}")[1] or number)
                    for path in ("api/status", "api/events", "metrics"):
                        asked(page + path)
            time.sleep(LOOK_S)

    with tempfile.TemporaryDirectory() as folder:
        if "page" in more:
            more = ("--realtime", "--motion", "off", "--records", folder, "--web", "localhost:0")
        run(model, "--frames", "300", *more, watch=watch)
    return highest


def growth(model: Path, frames: int) -> dict[str, Any]:
    """RSS against frames looked at, with page and records, as fast as it goes."""
    seen: list[tuple[int, float]] = []

    def watch(process: subprocess.Popen[str], page: str | None) -> None:
        while process.poll() is None:
            with contextlib.suppress(OSError, TypeError):
                status = json.loads(asked(f"{page}api/status")[0])
                seen.append((status["frames"], status["rss_mb"]))
            time.sleep(0.25)

    with tempfile.TemporaryDirectory() as folder:
        more = ("--size", "320x240", "--records", folder, "--web", "localhost:0", "--frames", str(frames))
        run(model, *more, watch=watch)
    return {
        "frames": frames,
        "kb_per_100000_frames": {str(share): rise(seen, frames, share) for share in SETTLE},
    }


def rise(seen: Sequence[tuple[int, float]], frames: int, share: float) -> dict[str, float]:
    """kB per 100,000 frames with its 95 % interval, after that share of the frames."""
    late = [(n / 1e5, 1024 * mb) for n, mb in seen if n > share * frames]
    return slope([n for n, _ in late], [kb for _, kb in late])


def alone(code: str, model: Path) -> list[float]:
    """What a process of its own prints."""
    command = [sys.executable, "-c", code, str(model)]
    return [float(x) for x in subprocess.run(command, capture_output=True, check=True).stdout.split()]


def help_seconds() -> float:
    """Wall seconds of ``imago --help``."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "imago.cli.main", "--help"], capture_output=True, check=True)
    return time.perf_counter() - began


def one_round(models: dict[str, Path], rows: dict[str, list[float]]) -> None:
    """Every process once."""

    def add(name: str, value: float) -> None:
        rows.setdefault(name, []).append(value)

    for name, model, more, _bar in CASES:
        if model in models:
            add(f"{name}, MB", peak(models[model], more))
    for name, path in models.items():
        if name.startswith("lenet5"):
            kind = path.suffix[1:]
            add(f"bare engine {name}, MB", alone(BARE[kind] + SAY_PEAK, path)[0] / 1024)
            began = time.time()
            highest, first = alone(FRAMES, path)
            add(f"Classifier {name}, MB", highest)
            add(f"start to first prediction {name}, s", first - began)
    add("imago --help, s", help_seconds())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=100_000, help="0: leave the slope out")
    parser.add_argument("--models", type=Path, help="keep the models there (making them takes minutes)")
    args = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT / ".dev")
    os.environ["IMAGO_LANG"] = "en"
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    rows: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = args.models or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        models = make_models(place)
        one_round(models, {})  # the first start reads libraries from disk
        for number in range(args.rounds):
            one_round(models, rows)
            print(f"round {number + 1}/{args.rounds}", file=sys.stderr, flush=True)
        grown = growth(models["lenet5.onnx"], args.frames) if args.frames else None
    print(machine()["cpu"])
    bars = {f"{name}, MB": bar for name, _, _, bar in CASES if bar}
    for name, values in rows.items():
        middle = statistics.median(values)
        bar = f"[≤ {bars[name]:g}{'' if middle <= bars[name] else ' ✗'}]" if name in bars else ""
        print(f"{name:<56} median {middle:7.3f}   {min(values):.3f} to {max(values):.3f}  {bar}")
    if grown is not None:
        for share, found in grown["kb_per_100000_frames"].items():
            where = f"growth over {grown['frames']} frames, after {float(share):.0%} of them"
            print(f"{where}: {found['slope']:.0f} kB per 100,000", end="")
            print(f" ({found['low']:.0f} to {found['high']:.0f}; {found['n']} samples)")
    table = {k: {"median": statistics.median(v), "all": v} for k, v in rows.items()}
    save("memory", {"rounds": args.rounds, "rows": table, "bars": bars, "growth": grown})


if __name__ == "__main__":
    main()
