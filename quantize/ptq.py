"""int8 by post-training quantisation: ranges are searched for, and the file that agrees best is kept.

What counts is how far the answers move: the mean Kullback–Leibler divergence of the integer network's
probabilities from the float network's, on pictures that set no range. Three stages, all on statistics
that were collected once:

1. one way to find ranges for all tensors (``ranges.METHODS``);
2. weights per channel or per tensor, with and without bias correction;
3. the tensors in runs of neighbours, first few and then more: each run takes the way that helps most.
   No single way fits a deep network: early tensors want their extremes, late ones have long tails that
   nobody misses (MobileNetV3-Small: 5.7 % of the answers changed with the best single way, 3.1 % so).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from imago.edge_runtime.engines.base import Engine
from imago.edge_runtime.engines.ort import OrtEngine
from imago.edge_runtime.types import F32, U8
from imago.quantize.layer_weights import FloatNetwork, WeightOptions
from imago.quantize.plan import make_plan
from imago.quantize.prepare import prepared
from imago.quantize.qdq import quantised
from imago.quantize.ranges import METHODS, Method, choose_range
from imago.quantize.statistics import collect

RUNS = (4, 12)  # into how many runs of neighbours the tensors are cut in stage 3
GOOD = 1e-3  # nats; a divergence below is not worth another stage (about 1 answer in 100 changes)
OTHER_WEIGHTS = (WeightOptions(True, False), WeightOptions(False, True), WeightOptions(False, False))
FLOOR = 1e-9  # probability; keeps logarithms finite
TensorRanges = dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Tried:
    """One candidate. divergence: mean KL in nats on held-out pictures; agreement: same answers, 0..1."""

    scheme: str
    divergence: float
    agreement: float

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"scheme": self.scheme, "divergence": self.divergence, "agreement": self.agreement}


@dataclass(frozen=True, eq=False, slots=True)
class Candidate:
    """An integer version of ``network``, and all that is needed to make it again with a change.

    scheme: in words. divergence, agreement: as in ``Tried``. floats: names of nodes kept float on purpose.
    tried: what was measured on the way.
    """

    scheme: str
    model: onnx.ModelProto
    divergence: float
    agreement: float
    network: FloatNetwork
    ranges: TensorRanges
    weights: WeightOptions
    floats: frozenset[str] = frozenset()
    tried: tuple[Tried, ...] = ()

    def exact(self) -> onnx.ModelProto:
        """The same nodes with unrounded weights (``qdq.quantised(exact=True)``)."""
        return quantised(self.network, self.ranges, self.weights, self.floats, exact=True)


def steps(pictures: int) -> int:
    """How often ``quantise`` calls ``advance`` for that many calibration pictures."""
    return 2 * pictures + len(METHODS) * (1 + sum(RUNS)) + len(OTHER_WEIGHTS)


def quantise(
    source: Path | onnx.ModelProto,
    calibration: U8,
    held_out: U8,
    *,
    advance: Callable[[int], None] = lambda steps: None,
) -> Candidate:
    """The best int8 version of ``source`` (a float model as ``imago export`` writes it).

    calibration, held_out: uint8 input tensors, one per row (``(n, *input shape without batch)``): the first
    set the ranges, the others choose among them. advance: called with the number of steps done.
    """
    model = prepared(source if isinstance(source, onnx.ModelProto) else onnx.load(source))
    network = FloatNetwork.of(model, collect(model, calibration, lambda: advance(1)))
    search = _Search(network, held_out, advance)
    best = search.one_way_for_all()
    best = search.weights(best)
    for count in RUNS:
        if best.divergence > GOOD:
            best = search.runs_of_neighbours(best, count)
    advance(steps(len(calibration)) - 2 * len(calibration) - search.steps)
    return replace(best, tried=tuple(search.tried))


class _Search:
    """Candidates of one network, each measured on the same held-out pictures."""

    def __init__(self, network: FloatNetwork, held_out: U8, advance: Callable[[int], None]) -> None:
        self.network, self.held_out, self.advance = network, held_out, advance
        self.wanted = probabilities(OrtEngine(network.view.model.SerializeToString()), held_out)
        self.ranges: dict[Method, TensorRanges] = {
            method: {name: choose_range(t, method) for name, t in network.statistics.items()}
            for method in METHODS
        }
        self.tried: list[Tried] = []
        self.steps = 0

    def one_way_for_all(self) -> Candidate:
        found = [self._measured(method, self.ranges[method], WeightOptions()) for method in METHODS]
        return min(found, key=lambda c: c.divergence)

    def weights(self, start: Candidate) -> Candidate:
        ways = start.scheme.split(",")[0]
        found = [self._measured(ways, start.ranges, options) for options in OTHER_WEIGHTS]
        return min((start, *found), key=lambda c: c.divergence)

    def runs_of_neighbours(self, best: Candidate, count: int) -> Candidate:
        """From the output to the input: what late tensors can stand decides what early ones should keep."""
        grids = make_plan(self.network.view, self.ranges["minmax"]).grids
        names = [name for name in grids if name in self.network.statistics]
        for run in reversed(np.array_split(np.array(names), count)):
            for method in METHODS:
                changed = {str(name): self.ranges[method][str(name)] for name in run}
                if changed.items() <= best.ranges.items():
                    self._count()
                    continue
                ranges, ways = {**best.ranges, **changed}, f"ranges in {count} parts"
                best = min(best, self._measured(ways, ranges, best.weights, note=False), key=_divergence)
        self._note(best)
        return best

    def _measured(
        self, ways: str, ranges: TensorRanges, weights: WeightOptions, *, note: bool = True
    ) -> Candidate:
        model = quantised(self.network, ranges, weights)
        got = probabilities(OrtEngine(model.SerializeToString()), self.held_out)
        made = Candidate(
            scheme=_scheme(ways, weights),
            model=model,
            divergence=divergence(self.wanted, got),
            agreement=agreement(self.wanted, got),
            network=self.network,
            ranges=ranges,
            weights=weights,
        )
        if note:
            self._note(made)
        self._count()
        return made

    def _note(self, made: Candidate) -> None:
        self.tried.append(Tried(made.scheme, made.divergence, made.agreement))

    def _count(self) -> None:
        self.steps += 1
        self.advance(1)


def _divergence(candidate: Candidate) -> float:
    return candidate.divergence


def _scheme(ways: str, weights: WeightOptions) -> str:
    channels = "per-channel" if weights.per_channel else "per-tensor"
    return f"{ways}, {channels}" + (", biases corrected" if weights.correct_bias else "")


def probabilities(engine: Engine, tensors: U8) -> F32:
    """float32 ``(n, classes)``, one picture at a time."""
    return np.stack([engine.run(row[None]) for row in tensors])


def answers(engine: Engine, tensors: U8) -> npt.NDArray[np.int64]:
    """Index of the likeliest class of each picture, ``(n,)``."""
    given: npt.NDArray[np.int64] = probabilities(engine, tensors).argmax(1)
    return given


def divergence(wanted: F32, got: F32) -> float:
    """Mean Kullback–Leibler divergence of ``got`` from ``wanted`` (both ``(n, classes)``), in nats."""
    p, q = wanted.astype(np.float64) + FLOOR, got.astype(np.float64) + FLOOR
    return float((p * np.log(p / q)).sum(1).mean())


def agreement(wanted: F32, got: F32) -> float:
    """Share of the pictures with the same answer, 0..1."""
    return float((wanted.argmax(1) == got.argmax(1)).mean())
