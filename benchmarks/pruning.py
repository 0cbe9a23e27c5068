"""Does pruning save time, not only multiplications? The same share of MACs kept, with different roundings.

    python benchmarks/pruning.py RUN [--macs 0.5] [--px 224] [--rounds 5] [--runs 60]

RUN: a trained run whose data set is at hand (its weights decide which channels matter). No retraining: time
does not depend on the weights. Engines are called in turn, one thread; the ratio of the medians of each round
is taken, and the median over the rounds is reported with its range; "best rounds" compares the fastest round
of each, which a busy machine disturbs least. "on hardware": not measured.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from common import ratio, save

from imago.edge_runtime.engines.ort import OrtEngine
from imago.edge_runtime.spec import InputSpec, ModelSpec
from imago.export.onnx_export import Deployable, export_onnx
from imago.quantize.calibration import pictures
from imago.quantize.measure import side_by_side
from imago.quantize.pruning.cost import CostModel
from imago.quantize.pruning.goal import Goal
from imago.quantize.pruning.importance import taylor
from imago.quantize.pruning.plan import Limits, choose, limits
from imago.quantize.pruning.surgery import Feed
from imago.quantize.pruning.wiring import Wiring
from imago.train.batches import Normalise
from imago.train.data.layouts import load_dataset
from imago.train.models.pruned import layout
from imago.train.models.registry import ModelConfig, build_from_config
from imago.train.models.summary import describe, totals
from imago.train.run import Run

PICTURES = 512


def variants(folder: Path, share: float) -> dict[str, ModelConfig]:
    """Descriptions of the network cut in four ways, and of the whole."""
    run = Run.load(folder)
    config = ModelConfig.from_dict(run.model)
    shape = (config.channels, config.height, config.width)
    module = run.load_module(folder)
    chosen = pictures(
        load_dataset(Path(run.data["root"]), run.config.data), "train", run.spec("run"), PICTURES
    )
    feed = Feed(chosen, Normalise(run.mean, run.std), torch.device("cpu"))
    scores = taylor(module, Wiring(module, shape).groups, feed)
    original = build_from_config(replace(config, arch={})).module
    found = {"whole": config}
    for name in ("any count", "multiples of 8", "imago", "imago, priced by MACs"):
        module = run.load_module(folder)
        wiring = Wiring(module, shape)
        costs = CostModel(module, shape, wiring.groups)
        steps = {"any count": 1, "multiples of 8": 8}.get(name)
        each = [
            limits(config.name, g.channels) if steps is None else Limits(steps, steps) for g in wiring.groups
        ]
        goal = _ByMacs if name.endswith("MACs") else Goal
        gone = choose(scores, costs, each, goal("macs", share * costs.cost().macs))
        for group, channels in zip(wiring.groups, gone, strict=True):
            if channels:
                wiring.remove(group, channels)
        found[name] = replace(config, arch=layout(module, original))
    return found


class _ByMacs(Goal):
    """Weighs what is saved in multiplications instead of work."""

    price = "macs"


def engine(config: ModelConfig, folder: Path, name: str) -> OrtEngine:
    """The exported network with fresh weights."""
    torch.manual_seed(0)
    built = build_from_config(config)
    for layer in built.module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):  # or its folded bias would be nothing
            torch.nn.init.uniform_(layer.bias, -0.1, 0.1)
    color = "gray" if config.channels == 1 else "rgb"
    spec = ModelSpec(
        labels=tuple(f"class {k}" for k in range(config.num_classes)),
        input=InputSpec(config.width, config.height, config.channels, color),
    )
    noise = np.random.default_rng(0).integers(
        0, 256, (2, config.height, config.width, config.channels), dtype=np.uint8
    )
    deployable = Deployable(built.module.eval(), config.channels, built.mean, built.std, 1.0)
    export_onnx(deployable, spec, noise, folder / f"{name}.onnx")
    return OrtEngine(folder / f"{name}.onnx")


def measure(engines: Mapping[str, OrtEngine], args: argparse.Namespace) -> dict[str, list[float]]:
    """Per network, the median time of each round in µs."""
    tensor = np.random.default_rng(1).integers(0, 256, engines["whole"].input_shape, dtype=np.uint8)
    times: dict[str, list[float]] = {name: [] for name in engines}
    for number in range(args.rounds):
        for name, us in side_by_side(engines, tensor, args.runs).items():
            times[name].append(us)
        print(f"  round {number + 1}/{args.rounds}", file=sys.stderr, flush=True)
    return times


def main() -> None:
    """Measure and print."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("run", type=Path)
    p.add_argument("--macs", type=float, default=0.5)
    p.add_argument("--px", type=int, default=224)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--runs", type=int, default=60)
    args = p.parse_args()
    torch.set_num_threads(1)
    import tempfile

    configs = {
        name: replace(config, width=args.px, height=args.px, stem=0)
        for name, config in variants(args.run, args.macs).items()
    }
    with tempfile.TemporaryDirectory() as folder:
        engines = {
            name: engine(config, Path(folder), str(k)) for k, (name, config) in enumerate(configs.items())
        }
        times = measure(engines, args)
    whole = totals(describe(configs["whole"]))
    rows = []
    print(f"{configs['whole'].name} at {args.px} px, {args.macs} of the MACs wanted, one thread")
    print("| rounding | parameters | MACs | times faster (range) | best rounds |\n|---|---|---|---|---|")
    for name, config in configs.items():
        params, macs = totals(describe(config))
        mid, low, high = ratio(times["whole"], times[name])
        best = min(times["whole"]) / min(times[name])
        rows.append(
            {"name": name, "params": params, "macs": macs, "faster": [mid, low, high], "us": times[name]}
        )
        shares = f"{params / whole[0]:.1%} | {macs / whole[1]:.1%}"
        print(f"| {name} | {shares} | {mid:.2f} ({low:.2f} to {high:.2f}) | {best:.2f} |")
    save("pruning", {"network": configs["whole"].name, "px": args.px, "goal": args.macs, "rows": rows})


if __name__ == "__main__":
    main()
