"""imago's training data path against the usual recipe (torchvision + DataLoader + PIL), side by side.

    python benchmarks/training.py [--rounds 3] [--only lenet|photos]

LeNet-5 on MNIST: whole epochs at equal batch size, with and without augmentation; the usual recipe trains
the same network as tutorials write it. MobileNetV3-Small at 128 px on the bugs7 and hymenoptera photos:
augmented pictures delivered per second from the second epoch on; building the cache against a first pass of
the usual recipe; whole epochs, and ten with the cache built first, against a ceiling where data cost nothing;
the share of forward + backward. The usual recipe runs with 0 and with 2 workers; the faster one counts.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import chain, count
from pathlib import Path
from typing import Any

from imago.edge_runtime.threads import calm_threads

calm_threads()  # as the command line does, for both sides; before torch is loaded

import torch
import torch.nn.functional as F
from common import data_folder, machine, ratio, rounds, save, timed
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from imago.edge_runtime.spec import InputSpec
from imago.train.augment import POLICIES
from imago.train.batches import Batches, Normalise
from imago.train.config import TrainConfig
from imago.train.data.cache import CachedSplit, open_cache
from imago.train.data.layouts import load_dataset
from imago.train.dataset import DataOptions, Dataset
from imago.train.device import choose_place, keep_memory
from imago.train.loop import Loop, Network
from imago.train.models.registry import build_model
from imago.train.optim import WeightAverage, make_optimizer

BATCH = {"lenet": 64, "photos": 32}
SIDE = 128
STEADY = 10  # epochs of imago per measurement of delivery: one takes 50 ms, which is too short to time
FEW = DataOptions(val_fraction=0.001, test_fraction=0.001)  # nearly all pictures train


def usual_epoch(loader: Iterable[Any], module: nn.Module) -> float:
    """Seconds of one epoch as tutorials write it."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    module.train()

    def epoch() -> None:
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(module(inputs), targets)
            loss.backward()
            optimizer.step()

    return timed(epoch)


def imago_epoch(config: TrainConfig, module: nn.Module, batches: Batches) -> float:
    """Seconds of one whole epoch of imago's loop: weight average, checkpoint and all."""
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(
            config,
            Network(module, ()),
            train=batches,
            val=None,
            place=choose_place(config),
            folder=Path(folder),
        )
        return timed(loop.run)


def deliver(loader: Iterable[Any], count: int) -> float:
    """Pictures per second that the loader alone hands over."""
    seconds = timed(lambda: [None for _ in loader])
    return count / seconds


def lenet(repeats: int) -> dict[str, Any]:
    """LeNet-5 on MNIST."""
    source = data_folder("mnist")
    dataset = load_dataset(source, FEW)
    spec = InputSpec(32, 32, 1, "gray")
    cached = open_cache(dataset, "train", spec)
    result: dict[str, Any] = {"n": len(cached.labels), "batch": BATCH["lenet"]}
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for file in source.glob("*.gz"):
            with gzip.open(file) as packed, (raw / file.stem).open("wb") as plain:
                shutil.copyfileobj(packed, plain)
        for name, policy, extra in (
            ("plain", "none", []),
            ("augmented", "light", [transforms.RandomAffine(10, (0.07, 0.07), (0.87, 1.15), 8)]),
        ):
            steps = [transforms.Pad(2), *extra, transforms.ToTensor(), transforms.Normalize(0.1307, 0.3081)]
            usual = datasets.MNIST(folder, train=True, transform=transforms.Compose(steps))
            functions: dict[str, Callable[[], float]] = {
                f"usual, {workers} workers": lambda w=workers, u=usual: (
                    len(u)
                    / usual_epoch(
                        DataLoader(u, BATCH["lenet"], shuffle=True, num_workers=w), tutorial_lenet()
                    )
                )
                for workers in (0, 2)
            }
            config = TrainConfig(epochs=1, batch_size=BATCH["lenet"], augment=policy)
            batches = Batches(
                cached.images,
                cached.labels,
                Normalise((0.1307,), (0.3081,)),
                batch_size=BATCH["lenet"],
                device=torch.device("cpu"),
                policy=POLICIES[policy],
            )
            functions["imago"] = lambda c=config, b=batches: len(b.images) / imago_epoch(c, build_lenet(), b)
            result[name] = compared(rounds(functions, repeats))
    return result


def build_lenet() -> nn.Module:
    """LeNet-5 for ten digits."""
    return build_model("lenet5", 10, channels=1, size=(32, 32)).module


def tutorial_lenet() -> nn.Module:
    """The same layers and the same numbers, as tutorials write them."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def compared(measured: dict[str, list[float]]) -> dict[str, Any]:
    """imago against the faster of the usual recipes; all in pictures per second."""
    best = max((n for n in measured if n != "imago"), key=lambda n: statistics.median(measured[n]))
    middle, low, high = ratio(measured["imago"], measured[best])
    medians = {name: statistics.median(values) for name, values in measured.items()}
    return {"medians": medians, "against": best, "ratio": middle, "ratio_range": [low, high]}


def photos(repeats: int) -> dict[str, Any]:
    """MobileNetV3-Small at 128 px on real photos."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "photos"
        gather(root)
        dataset = load_dataset(root, FEW)
        spec = InputSpec(SIDE, SIDE)
        cached = open_cache(dataset, "train", spec, root=Path(folder) / "cache", progress=False)
        total, classes = len(cached.labels), len(dataset.classes)
        steps = [
            transforms.RandomResizedCrop(SIDE, scale=(0.6, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(0.2, 0.25),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
        usual = datasets.ImageFolder(str(root), transforms.Compose(steps))
        batches = Batches(
            cached.images,
            cached.labels,
            Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            batch_size=BATCH["photos"],
            device=torch.device("cpu"),
            policy=POLICIES["standard"],
        )
        loaders = {
            w: DataLoader(usual, BATCH["photos"], shuffle=True, num_workers=w, persistent_workers=w > 0)
            for w in (0, 2)
        }
        delivery: dict[str, Callable[[], float]] = {
            f"usual, {w} workers": lambda loader=loader: deliver(loader, len(usual))
            for w, loader in loaders.items()
        }
        delivery["imago"] = lambda: deliver(
            chain.from_iterable(batches.epoch(e) for e in range(1, 1 + STEADY)), STEADY * total
        )
        result: dict[str, Any] = {"n": total, "classes": classes, "batch": BATCH["photos"]}
        result["delivered_per_s"] = compared(rounds(delivery, repeats))
        built = builder(dataset, spec, Path(folder))
        first: dict[str, Callable[[], float]] = {
            f"usual, {w} workers": lambda w=w: deliver(
                DataLoader(usual, BATCH["photos"], shuffle=True, num_workers=w), len(usual)
            )
            for w in (0, 2)
        }
        result["first_pass_per_s"] = compared(
            rounds({**first, "imago": lambda: total / timed(built)}, repeats)
        )
        result.update(ceiling(batches, total, classes, repeats))
        rates = [ten_epochs(built, batches, total, classes) for _ in range(max(1, repeats // 3))]
        top = result["epoch_images_per_s"]["ceiling"]
        result["ten_epochs_share_of_ceiling"] = statistics.median(rates) / top
        return result


def builder(dataset: Dataset, spec: InputSpec, folder: Path) -> Callable[[], CachedSplit]:
    """A function that builds the cache of the training pictures in a new place each time."""
    fresh = count()
    return lambda: open_cache(dataset, "train", spec, root=folder / f"cold{next(fresh)}", progress=False)


def ten_epochs(build: Callable[[], CachedSplit], batches: Batches, pictures: int, classes: int) -> float:
    """Pictures per second of ten whole epochs, building the cache included."""
    config = TrainConfig(model="mobilenet_v3_small", epochs=10, batch_size=BATCH["photos"])
    module = build_model("mobilenet_v3_small", classes, channels=3, size=(SIDE, SIDE)).module
    return 10 * pictures / (timed(build) + imago_epoch(config, module, batches))


def gather(root: Path) -> None:
    """One folder of class folders, by links, from bugs7 and hymenoptera's training part."""
    for source in (data_folder("bugs7"), data_folder("hymenoptera") / "train"):
        for folder in sorted(p for p in source.iterdir() if p.is_dir()):
            (root / folder.name).mkdir(parents=True)
            for file in folder.iterdir():
                if file.suffix.lower() in (".jpg", ".jpeg"):
                    (root / folder.name / file.name).symlink_to(file)


def ceiling(batches: Batches, count: int, classes: int, repeats: int) -> dict[str, Any]:
    """Whole epochs of imago's loop against the same loop on one batch that is always ready."""
    config = TrainConfig(model="mobilenet_v3_small", epochs=1, batch_size=BATCH["photos"])

    def module() -> nn.Module:
        return build_model("mobilenet_v3_small", classes, channels=3, size=(SIDE, SIDE)).module

    ready = Ready(batches)
    functions = {
        "ceiling": lambda: count / imago_epoch(config, module(), ready),  # type: ignore[arg-type]
        "imago": lambda: count / imago_epoch(config, module(), batches),
    }
    measured = rounds(functions, repeats)
    middle, low, high = ratio(measured["imago"], measured["ceiling"])
    return {
        "epoch_images_per_s": {name: statistics.median(v) for name, v in measured.items()},
        "share_of_ceiling": middle,
        "share_of_ceiling_range": [low, high],
        "forward_backward_share": forward_backward_share(config, module(), ready),
    }


class Ready:
    """Batches that cost nothing: the same tensors every time."""

    def __init__(self, batches: Batches) -> None:
        self._steps = len(batches)
        self._batch = next(iter(batches.epoch(0)))

    def __len__(self) -> int:
        return self._steps

    def epoch(self, number: int, start: int = 0) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
        """``len(self)`` times the same batch."""
        return (self._batch for _ in range(start, self._steps))


def forward_backward_share(config: TrainConfig, module: nn.Module, ready: Ready) -> float:
    """Share of a step (forward, loss, backward, optimiser, weight average) that is forward + backward."""
    module = module.to(memory_format=torch.channels_last).train()
    optimizer, average = make_optimizer(config, module), WeightAverage(module, config.ema)
    whole, pure = [], []
    for number, (inputs, targets) in enumerate(ready.epoch(0)):
        began = time.perf_counter()
        loss = F.cross_entropy(module(inputs), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        middle = time.perf_counter()
        optimizer.step()
        average.update(module, number)
        whole.append(time.perf_counter() - began)
        pure.append(middle - began)
    return statistics.median(pure) / statistics.median(whole)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("lenet", "photos"))
    args = parser.parse_args()
    print(f"{machine()['cpu']}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    keep_memory()  # as every training does; for both sides
    result: dict[str, Any] = {"rounds": args.rounds, "torch": torch.__version__}
    if args.only != "photos":
        result["lenet"] = lenet(args.rounds)
        for name in ("plain", "augmented"):
            r = result["lenet"][name]
            print(
                f"LeNet-5/MNIST epoch, {name}: imago {r['medians']['imago']:.0f} images/s, "
                f"{r['against']} {r['medians'][r['against']]:.0f}: {r['ratio']:.2f}×"
            )
    if args.only != "lenet":
        p = result["photos"] = photos(args.rounds)
        d = p["delivered_per_s"]
        print(
            f"photos {SIDE} px delivered per second: imago {d['medians']['imago']:.0f}, "
            f"{d['against']} {d['medians'][d['against']]:.0f}: {d['ratio']:.1f}×"
        )
        f = p["first_pass_per_s"]
        print(
            f"first pass: imago's cache {f['medians']['imago']:.0f} /s, {f['against']} "
            f"{f['medians'][f['against']]:.0f}: {f['ratio']:.2f}×"
        )
        print(f"ten epochs with the cache: {p['ten_epochs_share_of_ceiling']:.1%} of the ceiling")
        print(
            f"MobileNetV3-Small epoch: {p['share_of_ceiling']:.1%} of the ceiling "
            f"({p['epoch_images_per_s']['imago']:.0f} of {p['epoch_images_per_s']['ceiling']:.0f} images/s); "
            f"forward + backward are {p['forward_backward_share']:.1%} of a step"
        )
    save("training", result)


if __name__ == "__main__":
    main()
