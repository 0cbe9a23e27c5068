"""Which channels go: in blocks, those first that matter least for what they save, until the goal is met.

All groups compete (global ranking). Channels leave in blocks that end on multiples of 8, or of 16 where a
layer is wide: engines work on 8 or 16 channels at a time and pad the rest, so that odd counts save no
time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from imago.quantize.pruning.cost import CostModel
from imago.quantize.pruning.goal import Goal
from imago.train.models.plan import NET

STEPS = {"lenet5": (1, 2)}  # too small for multiples of 8
OWN_STEPS = (2, 8)  # networks of one's own have layers as narrow as LeNet's and as wide as ResNet's
WIDE = 24  # channels from which multiples of 16 are kept (measured: docs/decisions.md, pruning)
LEAST_SHARE = 0.2  # of a group's own channels always stays


@dataclass(frozen=True, slots=True)
class Limits:
    """For one group. step: kept counts are multiples of it (or untouched). floor: at least so many stay."""

    step: int
    floor: int


def limits(network: str, channels: int) -> Limits:
    """channels: of the group in the network as its authors drew it."""
    narrow, wide = OWN_STEPS if network.startswith(NET) else STEPS.get(network, (8, 16))
    step = narrow if channels < WIDE else wide
    return Limits(step, step * max(1, -(-int(channels * LEAST_SHARE) // step)))


def least(counts: Sequence[int], limit: Sequence[Limits]) -> list[int]:
    """The fewest channels that each group can be left with."""
    return [min(count, each.floor) for count, each in zip(counts, limit, strict=True)]


def choose(
    scores: Sequence[Tensor], costs: CostModel, limit: Sequence[Limits], goal: Goal, *, priced: bool = True
) -> list[list[int]]:
    """Channels to remove, per group, so that the goal is met and no block more goes than needed.

    scores: float64 ``(channels,)`` per group. priced: a block's importance is divided by what it saves; right
    for scores that add up to a loss. Otherwise by its channels: for scores that only compare channels.
    Raises ValueError where the limits forbid it (``least`` tells).
    """
    ladders = [_Ladder(score, each) for score, each in zip(scores, limit, strict=True)]
    kept = [len(score) for score in scores]
    while costs.total(goal.unit, kept) > goal.limit:
        steps = _steps(ladders, costs, kept, goal, priced)
        _, index, to = min(steps, default=(0.0, -1, 0))
        if index < 0:
            raise ValueError("no block of channels is left to remove")
        kept[index] = to
    _give_back(ladders, costs, kept, goal)
    return [ladder.order[: len(ladder.order) - count] for ladder, count in zip(ladders, kept, strict=True)]


class _Ladder:
    """One group's allowed counts, and what each step down loses."""

    def __init__(self, score: Tensor, limit: Limits) -> None:
        self.order: list[int] = score.argsort(stable=True).tolist()
        self._lost: list[float] = [0.0, *score.sort().values.cumsum(0).tolist()]
        full = len(score)
        self.counts = [full, *range((full - 1) // limit.step * limit.step, limit.floor - 1, -limit.step)]

    def below(self, count: int) -> int | None:
        """The next allowed count under ``count``; None at the floor."""
        return next((c for c in self.counts if c < count), None)

    def above(self, count: int) -> int | None:
        """The next allowed count over ``count``; None where nothing was removed."""
        return next((c for c in reversed(self.counts) if c > count), None)

    def lost(self, count: int, to: int) -> float:
        """Importance of the channels between ``count`` kept and ``to`` kept."""
        full = len(self.order)
        return self._lost[full - to] - self._lost[full - count]


def _steps(
    ladders: Sequence[_Ladder], costs: CostModel, kept: Sequence[int], goal: Goal, priced: bool
) -> Iterator[tuple[float, int, int]]:
    """``(importance lost per cost or channel saved, group, new count)`` of every possible step down."""
    for index, (ladder, count) in enumerate(zip(ladders, kept, strict=True)):
        to = ladder.below(count)
        if to is None or costs.saving(goal.unit, kept, index, to) <= 0:
            continue
        saved = costs.saving(goal.price, kept, index, to) if priced else count - to
        yield ladder.lost(count, to) / saved, index, to


def _give_back(ladders: Sequence[_Ladder], costs: CostModel, kept: list[int], goal: Goal) -> None:
    """The last block often goes beyond the goal: what fits into the rest comes back, the best first."""
    while True:
        room = goal.limit - costs.total(goal.unit, kept)
        found = [
            (ladder.lost(up, count), index, up)
            for index, (ladder, count) in enumerate(zip(ladders, kept, strict=True))
            if (up := ladder.above(count)) is not None and -costs.saving(goal.unit, kept, index, up) <= room
        ]
        if not found:
            return
        _, index, kept[index] = max(found)
