"""What a pruning is asked to do, and what that means in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr
from imago.quantize.pruning.goal import Cost, Goal, Unit
from imago.train.config import TrainConfig

IMPORTANCES = ("taylor", "magnitude", "bn")  # importance.py says what they are
PRECISIONS = ("fp32", "int8")
BETWEEN = 5  # a retraining between two steps has one in so many of the last one's epochs
GENTLE = 0.5  # of the run's own peak rate: what is left of the network need not be learned anew
# Weight of the answers of the very network that is pruned; a teacher that knows more counts for more. Chosen
# on validation pictures: from 0.9 down to this ResNet-18 went from 75.35 to 76.15 % (docs/results.md).
OWN_TEACHER = 0.5


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """Exactly one goal: macs or params, the share that is kept (0..1) of those of the run that is pruned;
    or size, bytes of the exported ONNX file whose weights have ``precision``.

    importance: which channels go first (``importance.py``). steps: prunings, each followed by a
    retraining. epochs: of the last retraining (0: half of what the run had); each earlier one has a fifth
    of it. lr: peak rate of the retrainings (None: half of the run's). pictures: training pictures on
    which importance and the statistics of batch normalisation are measured. teacher: folder of the run
    whose answers the retrainings learn from (None: the run that is pruned; the labels then count as
    much as its answers). device, threads: as in
    ``TrainConfig``.
    """

    macs: float | None = None
    params: float | None = None
    size: int | None = None
    precision: Literal["fp32", "int8"] = "fp32"
    importance: str = "taylor"
    steps: int = 3
    epochs: int = 0
    lr: float | None = None
    pictures: int = 1024
    teacher: str | None = None
    device: str = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        if sum(goal is not None for goal in (self.macs, self.params, self.size)) != 1:
            raise InputError("give exactly one goal: --macs, --params or --size")
        for name, share in (("macs", self.macs), ("params", self.params)):
            if share is not None and not 0 < share < 1:
                raise InputError(
                    "--{name} is {value}; expected a share between 0 and 1, such as 0.5 to keep half",
                    name=name,
                    value=share,
                )
        if self.size is not None and self.size < 1:
            raise InputError("--size must be more than nothing, such as 300kB")
        if self.importance not in IMPORTANCES:
            raise InputError(
                "--{name} is {value}; expected one of: {choices}",
                name="importance",
                value=self.importance,
                choices=", ".join(IMPORTANCES),
            )
        for name, number, most in (("steps", self.steps, 100), ("pictures", self.pictures, 1_000_000)):
            if not 1 <= number <= most:
                raise InputError(
                    "--{name} is {value}; expected {low} to {high}", name=name, value=number, low=1, high=most
                )

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PruneOptions:
        """Inverse of ``to_dict``; unknown keys are ignored."""
        known = {f.name for f in fields(cls)}
        return cls(**{key: value for key, value in data.items() if key in known})

    def retraining(self, own: TrainConfig, step: int, init: Path, teacher: Path) -> TrainConfig:
        """How step 1 .. ``steps`` retrains a network of a run that was trained with ``own``."""
        last, usual = self.epochs or max(1, own.epochs // 2), TrainConfig()
        return replace(
            own,
            net=None,  # the network comes with `init`
            init=init,
            teacher=teacher,
            distill_weight=usual.distill_weight if self.teacher else OWN_TEACHER,
            distill_temperature=usual.distill_temperature,
            model="",
            width_mult=None,
            size=0,
            fit=None,
            stem=None,
            pretrained=False,
            weights=None,
            freeze="none",
            unfreeze_every=0,
            patience=0,
            epochs=last if step == self.steps else max(1, round(last / BETWEEN)),
            lr=GENTLE * own.peak_lr if self.lr is None else self.lr,
            device=self.device,
            threads=self.threads,
        )

    def asked(self) -> dict[str, Any]:
        """The goal as it was given."""
        if self.size is not None:
            return {"size": self.size, "precision": self.precision}
        return {"macs": self.macs} if self.macs is not None else {"params": self.params}

    @property
    def unit(self) -> Unit:
        """What the goal counts."""
        if self.size is not None:
            return "int8_bytes" if self.precision == "int8" else "fp32_bytes"
        return "macs" if self.macs is not None else "params"

    def limit(self, before: Cost) -> float:
        """The goal in ``unit``, for a network that costs ``before``."""
        if self.size is not None:
            return float(self.size)
        return float((self.macs or self.params or 0) * getattr(before, self.unit))

    def goal(self, before: Cost, step: int) -> Goal:
        """The goal of step 1 .. ``steps``: each leaves the same share of what the one before left."""
        start = float(getattr(before, self.unit))
        share = min(1.0, self.limit(before) / start)
        return Goal(self.unit, start * share ** (step / self.steps))

    def require_possible(self, before: Cost, least: Cost) -> None:
        """Raises InputError where even the narrowest network would miss the goal, or nothing is to do."""
        wanted, now, lowest = self.limit(before), getattr(before, self.unit), getattr(least, self.unit)
        if wanted >= now:
            raise InputError(
                "nothing to prune: the goal is {goal}, the network has {now} already",
                goal=self.said(wanted),
                now=self.said(now),
            )
        if lowest > wanted:
            raise InputError(
                "the goal of {goal} cannot be reached: the network has {now}, and with the fewest channels "
                "that every layer must keep it would still have {least} ({share} of it); ask for more than "
                "that, or train a smaller network",
                goal=self.said(wanted),
                now=self.said(now),
                least=self.said(lowest),
                share=f"{lowest / now:.1%}",
            )

    def said(self, amount: float) -> str:
        """An amount of ``unit`` for people."""
        if self.unit == "macs":
            return tr("{n} MACs", n=f"{amount:,.0f}")
        if self.unit == "params":
            return tr("{n} parameters", n=f"{amount:,.0f}")
        return tr("about {n} kB of {precision}", n=f"{amount / 1000:,.1f}", precision=self.precision)
