"""``ModelConfig``: all that is needed to build the same network again, whatever its weights are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from imago.edge_runtime.errors import ModelError

MOST_LAYERS = 10_000
WIDTH_MULT = (0.1, 4.0)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A network's shape.

    name: key of ``MODELS`` or ``timm:NAME``. channels: 1 or 3. width, height: input in pixels.
    stem: how many of the first halvings are taken out (``stem_for``). arch: widths by layer name where they
    differ from the network's own, because it was pruned (``pruned.py`` says which widths a layer has).
    extra: builder arguments that a family needs beyond these. width_mult: factor on all channel counts
    (Howard et al. 2017, MobileNet).
    """

    name: str
    num_classes: int
    channels: int
    width: int
    height: int
    stem: int = 0
    arch: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    width_mult: float = 1.0

    def __post_init__(self) -> None:
        _check(bool(self.name), "name", self.name)
        _check(1 <= self.num_classes <= 100_000, "num_classes", self.num_classes)
        _check(self.channels in (1, 3), "channels", self.channels)
        _check(1 <= self.width <= 4096 and 1 <= self.height <= 4096, "size", (self.width, self.height))
        _check(0 <= self.stem <= 2, "stem", self.stem)
        object.__setattr__(self, "arch", {str(k): tuple(map(int, v)) for k, v in self.arch.items()})
        _check(len(self.arch) <= MOST_LAYERS, "number of pruned layers", len(self.arch))
        low, high = WIDTH_MULT
        _check(low <= self.width_mult <= high, "width_mult", self.width_mult)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelConfig:
        """Inverse of ``to_dict``; unknown keys are ignored. Raises ModelError for what does not fit."""
        known = {f.name for f in fields(cls)}
        try:
            return cls(**{key: value for key, value in data.items() if key in known})
        except (TypeError, ValueError, AttributeError) as error:
            raise ModelError(
                "the description of the network is damaged ({reason}); train again", reason=error
            ) from error


def _check(ok: bool, what: str, value: object) -> None:
    if not ok:
        raise ModelError(
            "the description of the network is not usable: {what} is {value}", what=what, value=repr(value)
        )
