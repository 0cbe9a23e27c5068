"""ONNX Runtime and LiteRT on the same networks, interleaved, one thread; agreement with torch.

    python benchmarks/tflite.py [--rounds 5] [--runs 200] [--models lenet5:32 mobilenet_v2:64 …]

Random weights: time does not depend on them. Needs the TFLite converter (imago setup tflite).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, random_run, save

MODELS = (
    "lenet5:32",
    "mobilenet_v2:64",
    "mobilenet_v2:224",
    "mobilenet_v3_small:64",
    "mobilenet_v3_small:224",
)
KINDS = ("onnxruntime fp32", "litert fp32", "litert int8")


def made(folder: Path, name: str, side: int) -> tuple[dict[str, Path], float]:
    """One file per kind, and the largest difference of a LiteRT fp32 probability from torch's."""
    from imago.edge_runtime.engines.tflite_file import network_of
    from imago.export.converter_env import ConverterEnv
    from imago.train.data.places import cache_root
    from imago.train.run import load_sample
    from imago.workflow.steps import export_run

    run = random_run(folder / "run", name, side, 1 if name == "lenet5" else 3)
    onnx = export_run(run, folder / "fp32.onnx").model
    lite = export_run(run, folder / "fp32.tflite", overwrite=True)
    job = {key: str(folder / f"{key}.npy") for key in ("pictures", "held_out")}
    for path in job.values():
        np.save(path, load_sample(run)[0][:16])
    (folder / "network.tflite").write_bytes(network_of(lite.model))
    job |= {
        "source": str(folder / "network.tflite"),
        "target": str(folder / "int8.tflite"),
        "scheme": "static",
    }
    ConverterEnv.under(cache_root()).call("imago.quantize.tflite_worker", job)
    files = dict(zip(KINDS, (onnx, lite.model, folder / "int8.tflite"), strict=True))
    return files, lite.verification.difference


def measured(files: dict[str, Path], rounds: int, runs: int) -> dict[str, list[float]]:
    """p50 in µs per kind and round."""
    from imago.edge_runtime.bench import interleaved
    from imago.edge_runtime.engines.litert import LiteRtEngine
    from imago.edge_runtime.engines.ort import OrtEngine

    engines: dict[str, Any] = {
        kind: OrtEngine(path) if path.suffix == ".onnx" else LiteRtEngine(path, trusted=True)
        for kind, path in files.items()
    }
    calls = {}
    for kind, engine in engines.items():
        tensor = np.random.default_rng(0).integers(0, 256, engine.input_shape, dtype=np.uint8)
        calls[kind] = lambda engine=engine, tensor=tensor: engine.run(tensor)
    times: dict[str, list[float]] = {kind: [] for kind in calls}
    for _ in range(rounds):
        for kind, values in interleaved(calls, runs=runs).items():
            times[kind].append(statistics.median(values) / 1e3)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows = []
    print(f"{'model':<26}{'kind':<20}{'kB':>8}{'p50 µs':>10}{'to ORT fp32':>14}{'range':>16}  from torch")
    for model in args.models:
        name, _, side = model.partition(":")
        with tempfile.TemporaryDirectory() as folder:
            files, difference = made(Path(folder), name, int(side))
            times = measured(files, args.rounds, args.runs)
            sizes = {kind: path.stat().st_size for kind, path in files.items()}
        for kind, values in times.items():
            ratios = [a / b for a, b in zip(values, times[KINDS[0]], strict=True)]
            row = {
                "model": model,
                "kind": kind,
                "bytes": sizes[kind],
                "p50_us": statistics.median(values),
                "ratio": statistics.median(ratios),
                "ratio_range": [min(ratios), max(ratios)],
                "largest_difference_from_torch": difference,
            }
            rows.append(row)
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            print(
                f"{model:<26}{kind:<20}{sizes[kind] / 1000:8.0f}{row['p50_us']:10.1f}"
                f"{row['ratio']:14.2f}{spread:>16}  {difference if kind == KINDS[1] else 0:.0e}",
                flush=True,
            )
    print(machine()["cpu"])
    save("tflite", {"rounds": args.rounds, "runs": args.runs, "rows": rows})


if __name__ == "__main__":
    main()
