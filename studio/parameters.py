"""The training parameters as the page shows them: label, range and a two-sentence explanation of each.

Defaults and limits are those of ``TrainConfig``; a value that it refuses is refused here, with its words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr
from imago.edge_runtime.spec import FITS
from imago.train import config as choices
from imago.train.config import TrainConfig
from imago.train.dataset import DataOptions

Kind = Literal["number", "whole", "choice", "switch"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One field. name: of ``TrainConfig`` (``data.…``: of its ``DataOptions``). low, high: limits of a
    number. options: of a choice. empty: what an empty field means, "" where it may not be empty.
    """

    name: str
    kind: Kind
    label: str
    explanation: str
    low: float = 0
    high: float = 0
    step: float | str = "any"
    options: tuple[str, ...] = ()
    empty: str = ""

    def read(self, value: Any) -> Any:
        """A value from the page or the workspace. Raises InputError where it does not fit."""
        if self.kind == "switch":
            return bool(value)
        if self.kind == "choice":
            if value in self.options:
                return value
            raise InputError(
                "{label}: expected one of {choices}", label=self.label, choices=", ".join(self.options)
            )
        if value is None and self.empty:
            return None
        whole = self.kind == "whole"
        if not isinstance(value, (int, float)) or not self.low <= value <= self.high or (whole and value % 1):
            raise InputError(
                "{label}: expected a number from {low} to {high}",
                label=self.label,
                low=f"{self.low:g}",
                high=f"{self.high:g}",
            )
        return int(value) if whole else float(value)


def basic() -> tuple[Parameter, ...]:
    """What every class talks about."""
    return (
        Parameter(
            "epochs",
            "whole",
            tr("Epochs"),
            tr(
                "How often the network sees every training picture. More epochs learn more until the "
                "validation curve stops rising; after that they only cost time."
            ),
            1,
            1000,
            1,
        ),
        Parameter(
            "lr",
            "number",
            tr("Learning rate"),
            tr(
                "How far the weights move at each step. Too large and the loss jumps about or explodes, too "
                "small and learning takes for ever; empty means a value that fits the optimiser."
            ),
            1e-6,
            10,
            empty=tr("fits the optimiser"),
        ),
        Parameter(
            "batch_size",
            "whole",
            tr("Batch size"),
            tr(
                "How many pictures the network looks at before it changes its weights once. Large batches "
                "are steadier and faster per picture, small ones need less memory and often learn better."
            ),
            2,
            1024,
            1,
        ),
        Parameter(
            "optimizer",
            "choice",
            tr("Optimiser"),
            tr(
                "The rule that turns slopes into steps: SGD walks straight down, momentum keeps rolling, "
                "RMSprop and Adam give every weight a step of its own. AdamW is a good first choice."
            ),
            options=choices.OPTIMIZERS,
        ),
        Parameter(
            "weight_decay",
            "number",
            tr("Weight decay"),
            tr(
                "Pulls all weights a little towards zero at each step. That keeps the network simple, so "
                "that it learns the subject and not single pictures; empty means a value that fits the "
                "optimiser."
            ),
            0,
            1,
            empty=tr("fits the optimiser"),
        ),
        Parameter(
            "augment",
            "choice",
            tr("Augmentation"),
            tr(
                "Random changes of every training picture: turned, shifted, lighter, darker. The network "
                "sees more variety than you photographed; overhead also turns pictures to any side, as "
                "insects sit."
            ),
            options=choices.AUGMENTATIONS,
        ),
        Parameter(
            "pretrained",
            "switch",
            tr("Pretrained weights"),
            tr(
                "Start from a network that has seen a million photos (ImageNet), so that few pictures of "
                "your own are enough. The weights are downloaded once; LeNet-5 has none."
            ),
        ),
        Parameter(
            "freeze",
            "choice",
            tr("Frozen layers"),
            tr(
                "Which layers keep the weights they start with. backbone trains only the last layer, which "
                "is quick and suits pretrained networks; none lets everything learn."
            ),
            options=("none", "backbone", "1", "2", "3", "4", "5", "6", "7", "8"),
        ),
        Parameter(
            "seed",
            "whole",
            tr("Seed"),
            tr(
                "The number that all chance comes from: first weights, order of pictures, augmentation. "
                "The same seed gives the same network again; another seed shows how much was luck."
            ),
            0,
            2**31 - 1,
            1,
        ),
        Parameter(
            "device",
            "choice",
            tr("Device"),
            tr(
                "Where to compute: cpu works everywhere, cuda is an NVIDIA graphics card, mps an Apple "
                "one. auto takes the fastest that is there."
            ),
            options=choices.DEVICES,
        ),
    )


def advanced() -> tuple[Parameter, ...]:
    """What one turns when the first run works."""
    return (
        Parameter(
            "size",
            "whole",
            tr("Picture size"),
            tr(
                "The side of the square that the network looks at, in pixels; 0 is the network's own size. "
                "Twice the side shows finer details and costs four times the work."
            ),
            0,
            1024,
            1,
        ),
        Parameter(
            "width_mult",
            "number",
            tr("Network width"),
            tr(
                "A factor on the number of channels of every layer, for networks that have one. 0.5 makes a "
                "MobileNet about four times cheaper; empty means 1."
            ),
            0.1,
            4,
            empty="1",
        ),
        Parameter(
            "stem",
            "whole",
            tr("Halvings left out"),
            tr(
                "How many of the first shrinking layers are skipped, for small pictures. Each makes the "
                "feature maps twice as fine and the work four times as much; empty decides by the picture "
                "size."
            ),
            0,
            2,
            1,
            empty=tr("by the picture size"),
        ),
        Parameter(
            "fit",
            "choice",
            tr("How a photo becomes a square"),
            tr(
                "center-crop cuts the sides off, letterbox adds bars, stretch squeezes. The board does "
                "exactly the same with what its camera sees."
            ),
            options=FITS,
        ),
        Parameter(
            "schedule",
            "choice",
            tr("Learning rate over time"),
            tr(
                "How the learning rate changes during the run. onecycle and cosine rise and then fall "
                "smoothly, step drops in stairs, constant stays."
            ),
            options=choices.SCHEDULES,
        ),
        Parameter(
            "warmup",
            "number",
            tr("Warm-up"),
            tr(
                "The share of the run in which the learning rate rises from almost nothing. It keeps the "
                "first, clueless steps small."
            ),
            0,
            0.9,
        ),
        Parameter(
            "momentum",
            "number",
            tr("Momentum"),
            tr(
                "How much of the last step is carried into the next one, for momentum and RMSprop. It rolls "
                "through small dents of the loss; 0.9 is usual."
            ),
            0,
            0.9999,
        ),
        Parameter(
            "label_smoothing",
            "number",
            tr("Label smoothing"),
            tr(
                "Asks the network to be nearly sure instead of absolutely sure. That makes its confidences "
                "more honest; 0 switches it off."
            ),
            0,
            0.9,
        ),
        Parameter(
            "ema",
            "number",
            tr("Weight average"),
            tr(
                "The network that is kept is a moving average of the last weights, which is steadier than "
                "any of them. Closer to 1 averages longer; 0 switches it off."
            ),
            0,
            0.99999,
        ),
        Parameter(
            "class_weights",
            "choice",
            tr("Weights for rare classes"),
            tr(
                "Mistakes on classes with few pictures count more. auto does so where the largest class "
                "has at least three times as many pictures as the smallest."
            ),
            options=choices.CLASS_WEIGHTS,
        ),
        Parameter(
            "patience",
            "whole",
            tr("Patience"),
            tr(
                "Ends the run after so many epochs without a better validation accuracy. It saves time "
                "when a run has learnt what it can; 0 never ends early."
            ),
            0,
            1000,
            1,
        ),
        Parameter(
            "unfreeze_every",
            "whole",
            tr("Thaw every"),
            tr(
                "Every so many epochs one more frozen block starts to learn, from the output towards the "
                "input. That is a gentle way of fine-tuning; 0 keeps them frozen."
            ),
            0,
            1000,
            1,
        ),
        Parameter(
            "precision",
            "choice",
            tr("Precision"),
            tr(
                "The kind of numbers used while training. bf16 is faster on newer graphics cards, fp32 is "
                "exact everywhere; auto chooses."
            ),
            options=choices.PRECISIONS,
        ),
        Parameter(
            "threads",
            "whole",
            tr("CPU threads"),
            tr(
                "How many of the processor's cores the training uses; 0 means all. Fewer leave more for "
                "other programs."
            ),
            0,
            256,
            1,
        ),
        Parameter(
            "data.val_fraction",
            "number",
            tr("Share for validation"),
            tr(
                "The part of the training pictures that is held back to choose the best epoch. It is used "
                "where the data set has no validation pictures of its own."
            ),
            0.01,
            0.5,
        ),
        Parameter(
            "data.test_fraction",
            "number",
            tr("Share for the test"),
            tr(
                "The part that is held back until the very end, for one honest measurement. It is used "
                "where the data set has no test pictures of its own."
            ),
            0.01,
            0.5,
        ),
        Parameter(
            "data.split_seed",
            "whole",
            tr("Seed of the split"),
            tr(
                "The number that decides which pictures are held back. Keep it when you compare runs, or "
                "they are judged by different pictures."
            ),
            0,
            2**31 - 1,
            1,
        ),
    )


def find(name: str) -> Parameter:
    """The parameter of this name. Raises KeyError."""
    return {p.name: p for p in (*basic(), *advanced())}[name]


def default(name: str) -> Any:
    """What applies where nothing was chosen."""
    if name.startswith("data."):
        return getattr(DataOptions(), name.removeprefix("data."))
    value = getattr(TrainConfig(), name)
    return FITS[0] if name == "fit" and value is None else value


def config_from(model: str, chosen: Mapping[str, Any]) -> TrainConfig:
    """``TrainConfig`` from what the page has kept. Raises InputError where values contradict each other."""
    values: dict[str, Any] = {}
    data: dict[str, Any] = {}
    for parameter in (*basic(), *advanced()):
        if parameter.name not in chosen:
            continue
        value = parameter.read(chosen[parameter.name])
        if parameter.name.startswith("data."):
            data[parameter.name.removeprefix("data.")] = value
        else:
            values[parameter.name] = value
    return TrainConfig(model=model, data=DataOptions(**data), **values)


def changed(chosen: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    """``chosen`` with one more value; what equals the default is not kept. Raises InputError."""
    checked = find(name).read(value)
    kept = {key: old for key, old in chosen.items() if key != name}
    if checked != default(name):
        kept[name] = checked
    return kept
