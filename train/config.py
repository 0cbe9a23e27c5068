"""What a training run is asked to do: one frozen value, one source of defaults for CLI, page and API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.spec import FITS, Fit
from imago.train.dataset import DataOptions
from imago.train.models.config import WIDTH_MULT
from imago.train.models.plan import NET, Plan

OPTIMIZERS = ("sgd", "momentum", "adam", "adamw", "rmsprop")
SCHEDULES = ("cosine", "onecycle", "step", "constant")
AUGMENTATIONS = ("auto", "none", "light", "standard", "overhead", "strong")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16")
CLASS_WEIGHTS = ("auto", "on", "off")

# Learning rates that a first run can start from, per optimiser (found on held-out pictures of
# ../shared/data's sets; docs/results.md). They are for batches of 64 and scale with its square root.
DEFAULT_LR = {"sgd": 0.1, "momentum": 0.02, "adam": 0.002, "adamw": 0.002, "rmsprop": 0.0005}
REFERENCE_BATCH = 64
DEFAULT_MODEL = "lenet5"
PATHS = ("init", "teacher", "weights")  # the fields of TrainConfig that name files


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Hyper-parameters of one run.

    model: key of ``MODELS`` or ``timm:NAME`` ("": lenet5, or the network of ``init``). net: a network of
    one's own instead (``Net``), which brings its input and starts from nothing. init: folder of a finished
    run (pruned ones too) whose network and weights this one starts from; model, width, size and fit are then
    that run's, and giving others is an error (another stem takes the same weights). width_mult: factor on the
    network's channel counts, where it has one (None: 1, or as in ``init``). size: side of the square input in
    pixels (0: the network's own). fit: how a photo becomes a square (None: center-crop, or as in ``init``).
    stem: how many of the network's first halvings are left out, so that small inputs keep a map of some size
    (None: until it is 4 px wide; each costs four times the work). epochs: passes over the training split. lr:
    peak learning rate; weight_decay: decoupled for adamw, L2 in the gradient for the others (None for either:
    a default that fits the optimiser). warmup: share of all steps in which the rate rises. label_smoothing:
    0..1. ema: decay of the weight average per step (0: off). mixup, cutmix: strength (the beta distribution's
    parameter) of mixing two pictures into one (0: off; ``mixing.py``). grow: share of the training over which
    the pictures grow from half their side (0: whole from the start). class_weights: weigh rare classes up
    (auto: from 3:1 imbalance on). patience: stop after so many epochs without a better validation accuracy
    (0: never). augment: random changes of the training pictures (auto: light for digits, standard for photos;
    overhead: any heading). freeze: "none", "backbone", or how many blocks from the input stay as they are.
    unfreeze_every: every so many epochs one more block, from the output side, joins in (0: never). teacher:
    folder of a finished run from which this one learns as well (``distill.py``): the loss is (1 −
    distill_weight) · cross-entropy + distill_weight · distill_temperature² · KL(teacher ‖ student). threads:
    CPU threads (0: all cores).
    """

    model: str = ""
    net: Plan | None = None
    init: Path | None = None
    width_mult: float | None = None
    size: int = 0
    fit: Fit | None = None
    stem: int | None = None
    epochs: int = 50
    batch_size: int = 64
    optimizer: str = "adamw"
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float | None = None
    schedule: str = "onecycle"
    warmup: float = 0.15
    label_smoothing: float = 0.05
    ema: float = 0.995
    mixup: float = 0.0
    cutmix: float = 0.0
    grow: float = 0.0
    class_weights: str = "auto"
    patience: int = 0
    augment: str = "auto"
    pretrained: bool = False
    weights: Path | None = None
    freeze: str = "none"
    unfreeze_every: int = 0
    teacher: Path | None = None
    distill_weight: float = 0.9
    distill_temperature: float = 4.0
    device: str = "auto"
    precision: str = "auto"
    threads: int = 0
    seed: int = 0
    data: DataOptions = field(default_factory=DataOptions)

    def __post_init__(self) -> None:
        if self.net is not None:
            self._check_net(self.net)
        if not self.model and self.init is None:
            object.__setattr__(self, "model", DEFAULT_MODEL)
        if self.init is not None and (self.pretrained or self.weights is not None):
            raise InputError("--init brings its own weights; leave out --pretrained and --weights")
        _among("fit", self.fit or FITS[0], FITS)
        _among("optimizer", self.optimizer, OPTIMIZERS)
        _among("schedule", self.schedule, SCHEDULES)
        _among("augment", self.augment, AUGMENTATIONS)
        _among("device", self.device, DEVICES)
        _among("precision", self.precision, PRECISIONS)
        _among("class-weights", self.class_weights, CLASS_WEIGHTS)
        _within("width", 1.0 if self.width_mult is None else self.width_mult, *WIDTH_MULT)
        _within("size", self.size, 0, 1024)
        _within("stem", self.stem or 0, 0, 2)
        _within("epochs", self.epochs, 1, 100_000)
        _within("batch-size", self.batch_size, 2, 65_536)
        _within("lr", self.peak_lr, 1e-9, 100.0)
        _within("momentum", self.momentum, 0.0, 0.9999)
        _within("weight-decay", self.decay, 0.0, 10.0)
        _within("warmup", self.warmup, 0.0, 0.9)
        _within("label-smoothing", self.label_smoothing, 0.0, 0.9)
        _within("ema", self.ema, 0.0, 0.99999)
        _within("mixup", self.mixup, 0.0, 10.0)
        _within("cutmix", self.cutmix, 0.0, 10.0)
        _within("grow", self.grow, 0.0, 1.0)
        _within("patience", self.patience, 0, 100_000)
        _within("unfreeze-every", self.unfreeze_every, 0, 100_000)
        _within("distill-weight", self.distill_weight, 0.0, 1.0)
        _within("distill-temperature", self.distill_temperature, 0.1, 100.0)
        if self.freeze not in ("none", "backbone") and not self.freeze.isdigit():
            raise InputError(
                "--freeze is {value}; expected none, backbone or a number of blocks", value=self.freeze
            )

    def _check_net(self, net: Plan) -> None:
        """A network of one's own decides what other flags decide for the catalogue's. Raises InputError."""
        named = NET + net.name
        net.require()
        others = {
            "model": self.model not in ("", named),
            "init": self.init is not None,
            "pretrained": self.pretrained,
            "weights": self.weights is not None,
            "width": self.width_mult not in (None, 1),
            "size": self.size not in (0, net.input[1]),
            "stem": bool(self.stem),
        }
        for flag, given in others.items():
            if given:
                raise InputError("--net brings its own layers and input; leave out --{flag}", flag=flag)
        object.__setattr__(self, "model", named)

    @property
    def network(self) -> str:
        """The network as people read it: its name, and its width where that is not the usual one."""
        return self.model if self.width_mult in (None, 1) else f"{self.model} ×{self.width_mult:g}"

    @property
    def peak_lr(self) -> float:
        """The learning rate at the top of the schedule."""
        if self.lr is not None:
            return self.lr
        return float(DEFAULT_LR[self.optimizer] * (self.batch_size / REFERENCE_BATCH) ** 0.5)

    @property
    def decay(self) -> float:
        """The weight decay in force."""
        if self.weight_decay is not None:
            return self.weight_decay
        return 0.01 if self.optimizer == "adamw" else 0.0005

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        data = asdict(self)
        data["net"] = self.net.to_dict() if self.net is not None else None
        for name in PATHS:
            data[name] = str(data[name]) if data[name] else None
        split_file = self.data.split_file
        data["data"]["split_file"] = str(split_file) if split_file else None
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainConfig:
        """Inverse of ``to_dict``; unknown keys are ignored."""
        known = {f.name for f in fields(cls)}
        kept = {key: value for key, value in data.items() if key in known}
        options = dict(kept.get("data") or {})
        options["split_file"] = Path(options["split_file"]) if options.get("split_file") else None
        kept["data"] = DataOptions(**options)
        if kept.get("net") is not None:
            kept["net"] = Plan.from_dict(kept["net"])
        for name in PATHS:
            kept[name] = Path(kept[name]) if kept.get(name) else None
        return cls(**kept)


def _among(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(
            "--{name} is {value}; expected one of: {choices}",
            name=name,
            value=value,
            choices=", ".join(choices),
        )


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError(
            "--{name} is {value}; expected {low} to {high}", name=name, value=value, low=low, high=high
        )
