"""Training on an accelerator: LeNet-5 to 99.2 %, and what the data path leaves of a network's own speed.

    python benchmarks/gpu.py [--device auto] [--epochs 8] [--batch-size 512] [--rounds 3] [--quick]

1. LeNet-5 on MNIST with a fixed recipe (chosen on validation pictures): seconds of training, without loading,
   validation, and report, and the accuracy on the 10,000 test pictures, used once.
2. MobileNetV3-Small, 128 px, the bugs7 and hymenoptera photos, batch 128: pictures per second of imago's
   whole loop (augmentation, optimiser, weight average and all) as a share of the same network's forward +
   backward on random data that lie on the device. Rounds alternate; every clock waits for the device.

It runs on a CPU too, which proves that it works; --quick uses few pictures. Only figures with a device's name
in front of them are figures of that device.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from imago.edge_runtime.threads import calm_threads

calm_threads()

import torch
import torch.nn.functional as F
from common import data_folder, machine, ratio, rounds, save
from torch import nn
from training import FEW, SIDE, gather, imago_epoch

from imago.edge_runtime.spec import InputSpec
from imago.train.augment import POLICIES
from imago.train.batches import Batches, Normalise
from imago.train.config import TrainConfig
from imago.train.data.cache import open_cache
from imago.train.data.layouts import load_dataset
from imago.train.device import Place, choose_place
from imago.train.models.registry import build_model
from imago.train.session import train

GOAL, BATCH = 0.992, 128
IMAGENET = Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def lenet(device: str, epochs: int, batch_size: int) -> dict[str, Any]:
    """Seconds of training and the test accuracy of LeNet-5."""
    config = TrainConfig(model="lenet5", epochs=epochs, batch_size=batch_size, device=device, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        outcome = train(data_folder("mnist"), config, Path(folder) / "run")
        lines = (Path(folder) / "run" / "metrics.json").read_text(encoding="utf-8")
    if outcome.test is None:
        raise RuntimeError("MNIST has a test split")
    return {
        "epochs": epochs,
        "batch": batch_size,
        "train_s": json.loads(lines)["seconds"],
        "accuracy": outcome.test.accuracy,
        "n": outcome.test.n,
    }


def wait(place: Place) -> None:
    """Until the device has done what it was given."""
    if place.device.type == "cuda":
        torch.cuda.synchronize(place.device)


def bare(module: nn.Module, place: Place, pictures: int, classes: int) -> float:
    """Pictures per second of forward + backward on one random batch that lies on the device."""
    module = module.to(place.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    inputs = torch.randn(BATCH, 3, SIDE, SIDE, device=place.device)
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    targets = torch.randint(0, classes, (BATCH,), device=place.device)
    steps = max(1, pictures // BATCH)

    def step() -> None:
        with place.context():
            loss = F.cross_entropy(module(inputs).float(), targets)
        module.zero_grad(set_to_none=True)
        loss.backward()

    step()
    wait(place)
    began = time.perf_counter()
    for _ in range(steps):
        step()
    wait(place)
    return steps * BATCH / (time.perf_counter() - began)


def photos(device: str, repeats: int, copies: int) -> dict[str, Any]:
    """Pictures per second: imago's loop and the bare network."""
    config = TrainConfig(model="mobilenet_v3_small", epochs=1, batch_size=BATCH, device=device)
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

    measured = rounds(
        {
            "imago": lambda: len(images) / imago_epoch(config, module(), batches),
            "bare": lambda: bare(module(), place, len(images), classes),
        },
        repeats,
    )
    middle, low, high = ratio(measured["imago"], measured["bare"])
    return {
        "n": len(images),
        "batch": BATCH,
        "images_per_s": {name: statistics.median(values) for name, values in measured.items()},
        "share": middle,
        "share_range": [low, high],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of the photos, one epoch of digits")
    args = parser.parse_args()
    place = choose_place(TrainConfig(device=args.device))
    cpu = place.device.type == "cpu"
    copies = 1 if cpu or args.quick else 32  # an epoch of some seconds
    result: dict[str, Any] = {"device": str(place), "cpu": machine()["cpu"], "torch": torch.__version__}
    print(f"{place} ({result['cpu']}), torch {torch.__version__}")
    p = result["photos"] = photos(args.device, 1 if args.quick else args.rounds, copies)
    print(
        f"MobileNetV3-Small {SIDE} px: imago {p['images_per_s']['imago']:.0f} images/s, bare forward + "
        f"backward {p['images_per_s']['bare']:.0f}: {p['share']:.1%}"
    )
    m = result["lenet"] = lenet(args.device, 1 if args.quick else args.epochs, args.batch_size)
    reached = "reached" if m["accuracy"] >= GOAL else "not reached"
    print(f"LeNet-5: {m['accuracy']:.2%} of {m['n']} after {m['train_s']:.1f} s; {GOAL:.1%} {reached}")
    save("gpu", result)


if __name__ == "__main__":
    main()
