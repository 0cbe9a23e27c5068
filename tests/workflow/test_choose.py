"""The choice among compressed models: gates, dominance, front, words. Pure arithmetic."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imago.edge_runtime.errors import InputError
from imago.quantize.paired import PairedDrop
from imago.workflow.compress.choose import Gates, Measured, Recipe, choose, explain, pareto_front

N = 10_000


def made(recipe: Recipe, lost: int, us: float, size: int, n: int = N) -> Measured:
    """A candidate that gets ``lost`` pictures fewer right than the plain model's 90 %."""
    drop = PairedDrop(n, max(lost, 0), max(-lost, 0))
    return Measured(recipe, Path(f"{recipe.name}.onnx"), size, 0.9 - lost / n, drop, us)


PLAIN = made(Recipe(), 0, 1000, 1_000_000)
INT8 = made(Recipe(precision="int8"), 10, 400, 260_000)
PRUNED = made(Recipe(macs=0.5, precision="int8"), 90, 200, 130_000)


def test_the_fastest_inside_the_gates_is_chosen() -> None:
    assert choose([PLAIN, INT8, PRUNED], Gates(max_drop=0.5)).best is INT8
    assert choose([PLAIN, INT8, PRUNED], Gates(max_drop=2)).best is PRUNED


def test_the_interval_not_the_drop_decides() -> None:
    small = made(Recipe(precision="int8"), 0, 400, 260_000, n=100)
    assert small.drop.drop == 0
    choice = choose([PLAIN, small], Gates(max_drop=0.5))
    assert choice.best is PLAIN
    assert "too few" in explain(choice, [PLAIN, small], Gates(max_drop=0.5))


def test_what_the_plain_model_dominates_is_never_handed_out() -> None:
    slower = made(Recipe(precision="int8"), 1, 1001, 1_000_000)
    assert slower.dominated_by(PLAIN)
    assert choose([PLAIN, slower], Gates(max_drop=5)).best is PLAIN


def test_equally_fast_means_the_smaller_one() -> None:
    weights = made(Recipe(precision="int8-weights"), 0, 1005, 250_000)
    assert choose([PLAIN, weights], Gates()).best is weights


def test_latency_and_size_gates() -> None:
    assert choose([PLAIN, INT8, PRUNED], Gates(max_drop=2, max_bytes=200_000)).best is PRUNED
    nothing = choose([PLAIN, INT8], Gates(max_drop=2, max_latency_us=100))
    assert nothing.best is None
    words = explain(nothing, [PLAIN, INT8], Gates(max_drop=2, max_latency_us=100))
    assert INT8.recipe.name in words and "0.40 ms" in words


@pytest.mark.parametrize("bad", [{"max_drop": -1}, {"max_latency_us": -1}, {"max_bytes": -5}])
def test_gates_are_checked(bad: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Gates(**bad)  # type: ignore[arg-type]


candidates = st.lists(
    st.tuples(st.integers(-200, 500), st.floats(1, 1e5), st.integers(1000, 10**7)), min_size=1, max_size=12
)


@given(candidates, st.floats(0, 5))
def test_the_front_and_the_choice_hold_what_they_promise(
    rows: list[tuple[int, float, int]], drop: float
) -> None:
    everything = [PLAIN] + [
        made(Recipe(macs=0.5 - k / 100), lost, us, size) for k, (lost, us, size) in enumerate(rows)
    ]
    front = pareto_front(everything)
    assert all(any(f.dominated_by(o) for o in everything) is False for f in front)
    assert all(c in front or any(c.dominated_by(f) for f in front) for c in everything)
    best = choose(everything, Gates(max_drop=drop)).best
    assert best is not None and not best.dominated_by(PLAIN) and not Gates(max_drop=drop).failures(best)
