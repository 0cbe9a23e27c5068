"""Training on an accelerator: LeNet-5 to 99.2 %, and what the data path leaves of a network's own speed.

    python benchmarks/gpu.py [--device auto] [--rounds 3] [--seeds 3] [--quick]

1. LeNet-5 and MobileNetV3-Small: how far the weights after ten steps as CUDA graphs are from those without,
   and, since a GPU adds in no fixed order, how far those of two runs without are from each other.
2. LeNet-5 on MNIST with a fixed recipe (chosen on validation pictures): seconds of training, without loading,
   validation, and report, and the accuracy on the 10,000 test pictures, used once.
3. MobileNetV3-Small, 128 px, the bugs7 and hymenoptera photos, batch 128: pictures per second of imago's
   whole loop (augmentation, optimiser, weight average and all) as a share of the same network's forward +
   backward on random data that lie on the device: as PyTorch runs it, and as CUDA graphs. Rounds alternate;
   every clock waits for the device.

It runs on a CPU too, which proves that it works; --quick uses few pictures. Only figures with a device's name
in front of them are figures of that device.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from imago.edge_runtime.threads import calm_threads

calm_threads()

import torch
import torch.nn.functional as F
from common import data_folder, machine, ratio, rounds, save, timed
from torch import nn
from training import FEW, SIDE, gather, imago_epoch

from imago.edge_runtime.spec import InputSpec
from imago.train.augment import POLICIES
from imago.train.batches import Batches, Normalise
from imago.train.config import TrainConfig
from imago.train.data.cache import open_cache
from imago.train.data.layouts import load_dataset
from imago.train.device import Place, choose_place
from imago.train.graphs import Graphs
from imago.train.models.registry import build_model
from imago.train.session import train

GOAL, BATCH, WARM_UP = 0.992, 128, 5
RECIPE: dict[str, Any] = {"epochs": 8, "batch_size": 256, "lr": 0.008}  # chosen on validation pictures
SHARE = ("median", "low", "high")
IMAGENET = Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def lenet(device: str, epochs: int, seed: int) -> dict[str, Any]:
    """Seconds of training and the test accuracy of LeNet-5."""
    config = TrainConfig(model="lenet5", device=device, seed=seed, **{**RECIPE, "epochs": epochs})
    with tempfile.TemporaryDirectory() as folder:
        outcome = train(data_folder("mnist"), config, Path(folder) / "run")
        lines = (Path(folder) / "run" / "metrics.json").read_text(encoding="utf-8")
    if outcome.test is None:
        raise RuntimeError("MNIST has a test split")
    return {
        "seed": seed,
        "epochs": epochs,
        "train_s": json.loads(lines)["seconds"],
        "accuracy": outcome.test.accuracy,
        "n": outcome.test.n,
    }


def wait(place: Place) -> None:
    """Until the device has done what it was given."""
    if place.device.type == "cuda":
        torch.cuda.synchronize(place.device)


def alike(name: str, channels: int, side: int, place: Place) -> dict[str, float]:
    """Largest difference of a weight after ten steps, as a share of the largest move."""
    ends, exact = [], Place(place.device)
    for graphs in (False, False, True):
        torch.manual_seed(0)
        module = build_model(name, 10, channels=channels, size=(side, side)).module
        module = module.to(place.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        begun = weights_of(module)
        step = stepper(module, exact, graphs=graphs)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
        for number in range(10):
            torch.manual_seed(number)
            inputs = torch.randn(32, channels, side, side, device=place.device)
            step(inputs, torch.arange(32, device=place.device) % 10)
            optimizer.step()
        ends.append(weights_of(module))
    first, second, graphed = ends
    moved = (first - begun).abs().max()
    apart = {"two without": second - first, "graphs": graphed - first}
    return {what: float(difference.abs().max() / moved) for what, difference in apart.items()}


def weights_of(module: nn.Module) -> torch.Tensor:
    """All weights in one row."""
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def stepper(module: nn.Module, place: Place, *, graphs: bool) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """Forward and backward of one batch: as PyTorch runs it, or as imago does."""
    recorder = Graphs(module, F.cross_entropy, place)

    def step(inputs: torch.Tensor, targets: torch.Tensor) -> None:
        recording = recorder.of(inputs, targets) if graphs else None
        if recording is not None:
            recording.replay(inputs, targets)
            return
        with place.context():
            loss = F.cross_entropy(module(inputs).float(), targets)
        module.zero_grad(set_to_none=True)
        loss.backward()

    return step


def bare(module: nn.Module, place: Place, pictures: int, classes: int, *, graphs: bool) -> float:
    """Pictures per second of forward + backward on one random batch that lies on the device."""
    module = module.to(place.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    inputs = torch.randn(BATCH, 3, SIDE, SIDE, device=place.device)
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    targets = torch.randint(0, classes, (BATCH,), device=place.device)
    steps = max(1, pictures // BATCH)
    step = stepper(module, place, graphs=graphs)
    for _ in range(WARM_UP):
        step(inputs, targets)
    wait(place)
    began = time.perf_counter()
    for _ in range(steps):
        step(inputs, targets)
    wait(place)
    return steps * BATCH / (time.perf_counter() - began)


def photos(base: TrainConfig, repeats: int, copies: int) -> dict[str, Any]:
    """Pictures per second: imago's loop and the bare network."""
    config = replace(base, model="mobilenet_v3_small", epochs=1, batch_size=BATCH)
    place = choose_place(config)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "photos"
        gather(root)
        dataset = load_dataset(root, FEW)
        cached = open_cache(
            dataset, "train", InputSpec(SIDE, SIDE), root=Path(folder) / "cache", progress=False
        )
        images = torch.from_numpy(cached.images.copy()).repeat(copies, 1, 1, 1).numpy()
        labels = torch.from_numpy(cached.labels.copy()).repeat(copies).numpy()
    classes = len(dataset.classes)
    batches = Batches(
        images, labels, IMAGENET, batch_size=BATCH, device=place.device, policy=POLICIES["standard"]
    )

    def module() -> nn.Module:
        return build_model("mobilenet_v3_small", classes, channels=3, size=(SIDE, SIDE)).module

    first = timed(lambda: imago_epoch(config, module(), batches))  # libraries load, kernels are chosen
    measured = rounds(
        {
            "imago": lambda: len(images) / imago_epoch(config, module(), batches),
            "bare": lambda: bare(module(), place, len(images), classes, graphs=False),
            "graphs": lambda: bare(module(), place, len(images), classes, graphs=True),
        },
        repeats,
    )
    return {
        "n": len(images),
        "batch": BATCH,
        "first_epoch_s": first,
        "images_per_s": {name: statistics.median(values) for name, values in measured.items()},
        "share": dict(zip(SHARE, ratio(measured["imago"], measured["bare"]), strict=True)),
        "share_of_graphs": dict(zip(SHARE, ratio(measured["imago"], measured["graphs"]), strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"), help="of the photos")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3, help="runs of LeNet-5")
    parser.add_argument("--quick", action="store_true", help="one round of the photos, one epoch of digits")
    args = parser.parse_args()
    base = TrainConfig(device=args.device, precision=args.precision)
    place = choose_place(base)
    cpu = place.device.type == "cpu"
    copies = 1 if cpu or args.quick else 96  # an epoch of some seconds
    result: dict[str, Any] = {"device": str(place), "cpu": machine()["cpu"], "torch": torch.__version__}
    print(f"{place} ({result['cpu']}), torch {torch.__version__}")
    result["alike"] = {
        name: alike(name, *size, place)
        for name, size in {"lenet5": (1, 32), "mobilenet_v3_small": (3, 64)}.items()
    }
    for name, apart in result["alike"].items():
        print(f"{name}, largest difference of a weight:", {k: f"{v:.0e}" for k, v in apart.items()})
    p = result["photos"] = photos(base, 1 if args.quick else args.rounds, copies)
    print(f"the first epoch of the process took {p['first_epoch_s']:.1f} s")
    print(
        f"MobileNetV3-Small {SIDE} px: imago {p['images_per_s']['imago']:.0f} images/s, bare forward + "
        f"backward {p['images_per_s']['bare']:.0f}: {p['share']['median']:.1%}; as graphs "
        f"{p['images_per_s']['graphs']:.0f}: {p['share_of_graphs']['median']:.1%}"
    )
    seeds, epochs = (1, 1) if args.quick else (args.seeds, RECIPE["epochs"])
    runs = result["lenet"] = [lenet(args.device, epochs, seed) for seed in range(1, seeds + 1)]
    for m in runs:
        reached = "reached" if m["accuracy"] >= GOAL else "not reached"
        print(
            f"LeNet-5, seed {m['seed']}: {m['accuracy']:.2%} of {m['n']} after {m['train_s']:.1f} s; "
            f"{GOAL:.1%} {reached}"
        )
    save("gpu", result)


if __name__ == "__main__":
    main()
