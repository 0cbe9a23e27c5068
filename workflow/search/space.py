"""Which settings a search may try: from the pictures' size and kind to a ``TrainConfig`` for each trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol

from imago.edge_runtime.imageio import read_image
from imago.train.config import DEFAULT_LR, REFERENCE_BATCH, TrainConfig
from imago.train.dataset import Dataset
from imago.train.models.catalogue import model_info
from imago.workflow.search.options import SearchOptions

SIDES = (32, 48, 64, 96, 128, 160, 192, 224)
USUAL_SIDE = 128  # larger inputs are tried, but not at first
WIDTHS = (0.35, 0.5, 0.75, 1.0)
BATCHES = (16, 32, 64, 128)
OPTIMIZERS = ("adamw", "momentum")
RATES = (0.25, 4.0)  # factors on the learning rate that fits the optimiser and the batch
PHOTOS = ("standard", "overhead", "strong", "light")
DIGITS = ("light", "none")
STEMS = (0, 1)


class Chooser(Protocol):
    """What the space needs of ``optuna.Trial``."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of ``choices``."""
        ...

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number between ``low`` and ``high``."""
        ...


@dataclass(frozen=True, slots=True)
class Space:
    """What may be chosen for one data set. sides: of the input in pixels, ascending."""

    models: tuple[str, ...]
    sides: tuple[int, ...]
    augmentations: tuple[str, ...]
    starts: tuple[str, ...]
    options: SearchOptions

    @classmethod
    def of(cls, dataset: Dataset, options: SearchOptions) -> Space:
        """No larger inputs than the pictures have pixels for: that would cost time and show nothing new."""
        side = picture_side(dataset)
        sides = tuple(s for s in SIDES if s <= side * 1.15) or SIDES[:1]
        usable = tuple(m for m in options.models if model_info(m).min_side <= sides[-1])
        if not usable:  # pictures smaller than any network takes: then the smallest that it takes
            usable = options.models
            sides = (min(s for s in SIDES if s >= min(model_info(m).min_side for m in usable)),)
            usable = tuple(m for m in usable if model_info(m).min_side <= sides[-1])
        starts = ["scratch"]
        if options.pretrained or options.weights is not None:
            starts += ["pretrained", "frozen"]
        augmentations = DIGITS if dataset.layout == "idx" else PHOTOS
        return cls(usable, sides, augmentations, tuple(starts), options)

    def choose(self, trial: Chooser) -> TrainConfig:
        """The configuration of one trial, without its length. Names of parameters are those of the report."""
        model = trial.suggest_categorical("model", self.models)
        info = model_info(model)
        sides = [s for s in self.sides if s >= info.min_side]
        # The choices of one name must stay the same over a whole study: one name per set of choices.
        side = trial.suggest_categorical(_named("size", sides, self.sides), sides)
        stem = trial.suggest_categorical("stem", STEMS) if info.halvings else None
        width = trial.suggest_categorical("width", WIDTHS) if info.scalable else None
        augment = trial.suggest_categorical("augment", self.augmentations)
        optimizer = trial.suggest_categorical("optimizer", OPTIMIZERS)
        batch = trial.suggest_categorical("batch_size", BATCHES)
        rate = trial.suggest_float("rate", *RATES, log=True)
        began = self._start(trial, model, width)
        return TrainConfig(
            model=model,
            size=side,
            stem=0 if began["stem0"] and stem is not None else stem,
            width_mult=width,
            augment=augment,
            optimizer=optimizer,
            batch_size=batch,
            lr=round(DEFAULT_LR[optimizer] * (batch / REFERENCE_BATCH) ** 0.5 * rate, 6),
            pretrained=began["pretrained"],
            weights=began["weights"],
            freeze="backbone" if began["frozen"] else "none",
            device=self.options.device,
            threads=self.options.threads,
            seed=self.options.seed,
            data=self.options.data,
        )

    def _start(self, trial: Chooser, model: str, width: float | None) -> dict[str, Any]:
        """Where the weights come from; ready-made ones keep the network as it was published."""
        options = self.options
        ready = options.weights is not None or (
            options.pretrained and model_info(model).pretrained and width in (None, 1.0)
        )
        start = trial.suggest_categorical("start", self.starts) if ready else "scratch"
        used = start != "scratch"
        return {
            "pretrained": used and options.weights is None,
            "weights": options.weights if used else None,
            "frozen": start == "frozen",
            "stem0": used and options.weights is None,
        }

    def first(self) -> list[dict[str, Any]]:
        """Settings that are sane without knowing anything: tried first, in this order."""
        side = max((s for s in self.sides if s <= USUAL_SIDE), default=self.sides[0])
        wanted = (
            {"model": "mobilenet_v3_small", "size": side, "stem": 0, "width": 1.0},
            {"model": "lenet5", "size": min(self.sides, key=lambda s: abs(s - 32)), "batch_size": 64},
            {"model": "resnet18", "size": side, "stem": 0, "batch_size": 64},
            {"model": "mobilenet_v2", "size": side, "stem": 0, "width": 0.5},
            {"model": "mobilenet_v3_small", "size": side, "stem": 1, "width": 0.5},
            {"model": "shufflenet_v2", "size": side, "stem": 0},
        )
        return [self._whole(w) for w in wanted if w["model"] in self.models] or [
            self._whole({"model": name, "size": side, "stem": 0, "width": 1.0}) for name in self.models
        ]

    def _whole(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters of a trial, where ``wanted`` leaves some out."""
        info = model_info(str(wanted["model"]))
        sides = [s for s in self.sides if s >= info.min_side]
        side = min(sides, key=lambda s: abs(s - int(wanted["size"])))
        params: dict[str, Any] = {
            "augment": self.augmentations[0],
            "optimizer": OPTIMIZERS[0],
            "batch_size": 32,
            "rate": 1.0,
            **wanted,
            _named("size", sides, self.sides): side,
        }
        if sides != list(self.sides):
            del params["size"]
        if len(self.starts) > 1:
            params["start"] = self.starts[1]
        return params


def _named(name: str, choices: Sequence[int], usual: Sequence[int]) -> str:
    return name if len(choices) == len(usual) else f"{name}_from_{choices[0]}"


def picture_side(dataset: Dataset, count: int = 24) -> int:
    """The median shorter side of the training pictures in pixels, from a few of them."""
    split = dataset.splits["train"]
    if split.images is not None:
        return int(min(split.images.shape[1:3]))
    step = max(1, len(split.paths) // count)
    frames = (read_image(dataset.root / path).image for path in split.paths[::step])
    return int(median(min(image.shape[:2]) for image in frames))
