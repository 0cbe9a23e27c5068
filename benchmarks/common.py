"""What the benchmarks share: the machine's name, interleaved rounds, a table and a JSON file."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "out"


def data_folder(name: str) -> Path:
    """A real data set under IMAGO_DATA, or the shared folder beside the checkout."""
    root = Path(os.environ.get("IMAGO_DATA", ROOT.parent / "shared" / "data"))
    if not (root / name).exists():
        sys.exit(f"benchmark data '{name}' not found under {root}; set IMAGO_DATA")
    return root / name


def machine() -> dict[str, Any]:
    """Enough to know what a figure was measured on."""
    from imago.edge_runtime.system import read_system

    return {**read_system().to_dict(), "cores": os.cpu_count(), "python": platform.python_version()}


def rounds(functions: Mapping[str, Callable[[], float]], count: int) -> dict[str, list[float]]:
    """Call each function in turn, ``count`` times over: a noisy minute hits all alike."""
    results: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(count):
        for name, function in functions.items():
            results[name].append(function())
            print(
                f"  round {number + 1}/{count} {name}: {results[name][-1]:.4g}", file=sys.stderr, flush=True
            )
    return results


def timed(function: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def ratio(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    """Median, minimum and maximum of a/b, pair by pair."""
    pairs = [x / y for x, y in zip(a, b, strict=True)]
    return statistics.median(pairs), min(pairs), max(pairs)


def imago(*args: str) -> dict[str, Any]:
    """Run a command with ``--json -`` in a process of its own; exit code 1 is an answer, not a failure."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".dev"), "IMAGO_LANG": "en"}
    command = [sys.executable, "-m", "imago.cli.main", *args, "--json", "-"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(args)}: {done.stderr}")
    return dict(json.loads(done.stdout))


def unpacked(name: str, folder: Path) -> Path:
    """The packed data set ``name``.zip, unpacked once into ``folder``: an interrupted run finds it again."""
    target = folder / name
    if not target.exists():
        unpacking = folder / "unpacking"
        with zipfile.ZipFile(data_folder(f"{name}.zip")) as packed:
            packed.extractall(unpacking)
        (unpacking / name).rename(target)
    return target


def slope(x: Sequence[float], y: Sequence[float]) -> dict[str, float]:
    """Least squares, and a 95 % interval that neighbours' likeness does not flatter (Newey & West 1987)."""
    import numpy as np

    times, values = np.asarray(x, np.float64), np.asarray(y, np.float64)
    n, centred = len(times), np.asarray(x, np.float64) - np.mean(x)
    spread = float(centred @ centred)
    rise = float(centred @ values) / spread
    scores = centred * (values - values.mean() - rise * centred)
    lags = int(4 * (n / 100) ** (2 / 9)) + 1
    variance = float(scores @ scores)
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (lags + 1)) * float(scores[lag:] @ scores[:-lag])
    half = 1.96 * float(np.sqrt(max(variance, 0.0) * n / (n - 2))) / spread
    return {"slope": rise, "low": rise - half, "high": rise + half, "n": n}


def random_run(folder: Path, name: str, side: int, channels: int = 3, classes: int = 10) -> Path:
    """A run folder of ``name`` with random weights and lively BatchNorm averages: time depends on neither."""
    import numpy as np
    import torch

    from imago.edge_runtime.spec import InputSpec
    from imago.train.checkpoint import WEIGHTS, save_tensors
    from imago.train.config import TrainConfig
    from imago.train.models.registry import build_model
    from imago.train.run import Run, save_sample

    torch.manual_seed(0)
    built = build_model(name, classes, channels=channels, size=(side, side))
    with torch.no_grad():
        built.module.train()
        for _ in range(3):
            built.module(torch.randn(8, channels, side, side))
    folder.mkdir(parents=True)
    Run(
        config=TrainConfig(model=name),
        model=built.config.to_dict(),
        input=InputSpec(side, side, channels, "gray" if channels == 1 else "rgb"),
        classes=tuple(f"class {k}" for k in range(classes)),
        mean=built.mean,
        std=built.std,
        data={"name": "random", "generated": True},
    ).save(folder)
    save_tensors(folder / WEIGHTS, built.module.state_dict())
    pictures = np.random.default_rng(0).integers(0, 256, (32, side, side, channels), dtype=np.uint8)
    save_sample(folder, pictures, np.zeros(32, np.int64))
    return folder


def save(name: str, result: Mapping[str, Any]) -> None:
    """Write ``benchmarks/out/<name>.json`` with machine and time."""
    OUT.mkdir(exist_ok=True)
    data = {"benchmark": name, "date": time.strftime("%Y-%m-%d"), "machine": machine(), **result}
    (OUT / f"{name}.json").write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote benchmarks/out/{name}.json", file=sys.stderr)
