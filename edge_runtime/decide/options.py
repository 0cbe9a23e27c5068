"""What the decisions go by, with every default in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imago.edge_runtime.errors import InputError

NOTHING = ("background", "empty", "none", "nothing", "other", "背景", "无", "空")


@dataclass(frozen=True, slots=True)
class DecisionOptions:
    """How single answers become visits. Times in seconds of the picture, never counts of frames alone.

    threshold: averaged confidence from which a class is said; below it the visit is "unknown". Chow (1970):
    saying "unknown" below t is best where being wrong costs 1 / (1 - t) times what saying nothing costs;
    0.6 is two and a half times. It means what it says only on calibrated confidence, which imago's own
    models have (temperature in the graph).
    keep: a visit of the whole frame goes on down to here (hysteresis: one dip does not make two visits).
    smoothing_s: time constant of the running average; about the time an insect takes to turn round.
    min_s, min_frames: shorter is a flicker, not a visit. gap_s: out of sight for so long is gone.
    max_s: a subject that stays longer is reported in parts, so that a power cut loses no hour.
    top_k: classes kept of a visit. crop_side: longest side of the picture kept of it, in pixels.
    nothing: classes, by name, that mean that nothing is there; they never make an event.
    blank: a picture whose grey levels spread less (standard deviation) shows nothing: night, a cap.
    """

    threshold: float = 0.6
    keep: float = 0.4
    smoothing_s: float = 0.4
    min_s: float = 0.5
    min_frames: int = 3
    gap_s: float = 1.5
    max_s: float = 600.0
    top_k: int = 3
    crop_side: int = 320
    nothing: tuple[str, ...] = NOTHING
    blank: float = 3.0

    def __post_init__(self) -> None:
        if not 0 < self.keep <= self.threshold <= 1:
            raise InputError(
                "the threshold {threshold} is not usable; expected a confidence above {keep}, at most 1",
                threshold=self.threshold,
                keep=self.keep,
            )
        for name in ("smoothing_s", "gap_s", "max_s", "min_frames", "top_k", "crop_side"):
            value = getattr(self, name)
            if not 0 < value < 1e9:
                raise InputError(
                    "{name} {value} is not usable; expected a number above 0", name=name, value=value
                )

    def nothing_indices(self, labels: Sequence[str]) -> frozenset[int]:
        """Which of the model's classes mean that nothing is there."""
        names = {name.casefold() for name in self.nothing}
        return frozenset(index for index, label in enumerate(labels) if label.casefold() in names)
