"""Faster, slower or not: the exact test against brute force, its false alarms, its power, its words."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.edge_runtime.compare import (
    ALPHA,
    compare,
    compare_reports,
    critical,
    differences,
    mann_whitney_p,
)
from imago.edge_runtime.errors import InputError


def brute_force_p(a: list[float], b: list[float]) -> float:
    """Share of all assignments of the ranks whose U is at least as extreme."""
    values, n = a + b, len(a)

    def u(first: list[float], second: list[float]) -> float:
        smaller = sum((x < y) + 0.5 * (x == y) for x in first for y in second)
        return min(smaller, n * len(b) - smaller)

    seen, extreme, count = u(a, b), 0, 0
    for chosen in itertools.combinations(range(len(values)), n):
        first = [values[k] for k in chosen]
        second = [values[k] for k in range(len(values)) if k not in chosen]
        count += 1
        extreme += u(first, second) <= seen
    return extreme / count


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(9)), st.integers(2, 7))
def test_p_is_exact(order: list[int], n: int) -> None:
    values = [float(v) for v in order]
    assert mann_whitney_p(values[:n], values[n:]) == pytest.approx(
        min(1, brute_force_p(values[:n], values[n:]))
    )


def test_ties_make_it_careful_not_bold() -> None:
    a, b = [1.0, 2, 2, 3], [2.0, 3, 4, 4]
    assert brute_force_p(a, b) <= mann_whitney_p(a, b) <= 1
    assert mann_whitney_p([1.0] * 5, [1.0] * 5) == 1


def test_the_interval_belongs_to_the_test() -> None:
    # Tables of the Mann-Whitney test: for 5 and 5, U ≤ 2 is significant at 5 %, for 4 and 4 only U = 0.
    assert (critical(5, 5), critical(4, 4), critical(8, 8)) == (2, 0, 13)


def session(
    rng: np.random.Generator, processes: int, runs: int, *, between: float = 0.03, factor: float = 1.0
) -> list[npt.NDArray[np.float64]]:
    """Times as boards give them: every process its own level, AR(1) drift within, and seldom a slow run."""
    found = []
    for _ in range(processes):
        noise = rng.normal(0, 0.01, runs)
        drift = np.zeros(runs)
        for k in range(1, runs):
            drift[k] = 0.95 * drift[k - 1] + noise[k]
        spikes = np.where(rng.random(runs) < 0.03, rng.exponential(1.0, runs), 0)
        found.append(factor * 1000 * np.exp(rng.normal(0, between) + drift) * (1 + spikes))
    return found


def medians(sessions: list[npt.NDArray[np.float64]]) -> list[float]:
    return [float(np.median(one)) for one in sessions]


def test_false_alarms_stay_below_the_promise() -> None:
    rng = np.random.default_rng(1)
    trials, alarms, naive = 600, 0, 0
    for _ in range(trials):
        old, new = session(rng, 5, 40), session(rng, 5, 40)
        alarms += compare("total", medians(old), medians(new)).verdict in ("faster", "slower")
        # What comparing all single runs would say: the normal approximation of the same test.
        pooled = [np.concatenate(side) for side in (old, new)]
        ranks = np.argsort(np.argsort(np.concatenate(pooled)))[: len(pooled[0])]
        n = len(pooled[0])
        z = (ranks.sum() - n * (2 * n - 1) / 2) / math.sqrt(n * n * (2 * n + 1) / 12)
        naive += abs(z) > 1.96
    error = 3 * math.sqrt(ALPHA * (1 - ALPHA) / trials)
    assert alarms / trials <= ALPHA + error
    assert naive / trials > 5 * ALPHA  # why the unit is the process


@pytest.mark.parametrize(("factor", "verdict"), [(1.10, "slower"), (1 / 1.10, "faster")])
def test_real_changes_are_found(factor: float, verdict: str) -> None:
    rng = np.random.default_rng(2)
    found = [
        compare("t", medians(session(rng, 5, 40)), medians(session(rng, 5, 40, factor=factor)))
        for _ in range(100)
    ]
    assert sum(c.verdict == verdict for c in found) >= 80
    assert np.median([c.ratio for c in found]) == pytest.approx(factor, rel=0.02)
    covered = sum(c.low <= factor <= c.high for c in found)
    assert covered >= 90  # nominal 96.8 %


def test_the_same_is_a_verdict_of_its_own() -> None:
    steady = [100.0, 100.1, 100.2, 100.3, 100.4]
    assert compare("t", steady, [v * 1.001 for v in steady]).verdict == "same"
    # Significant, but smaller than what two builds of the same code differ by.
    tiny = compare("t", steady, [v * 1.01 for v in steady])
    assert tiny.p < ALPHA
    assert tiny.verdict == "same"
    assert compare("t", [90.0, 100, 110, 120], [95.0, 100, 115, 118]).verdict == "cannot tell"


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(1, 1e6), min_size=4, max_size=8),
    st.lists(st.floats(1, 1e6), min_size=4, max_size=8),
)
def test_swapping_old_and_new_swaps_the_verdict(a: list[float], b: list[float]) -> None:
    there, back = compare("t", a, b), compare("t", b, a)
    assert there.ratio == pytest.approx(1 / back.ratio)
    assert there.low == pytest.approx(1 / back.high)
    assert there.p == pytest.approx(back.p)
    swapped = {"faster": "slower", "slower": "faster"}
    assert there.verdict == swapped.get(back.verdict, back.verdict)


def test_reports() -> None:
    base = {"process_p50_us": {"total": [1.0, 1, 1, 1, 1], "engine": [1, 2, 3, 4, 5]}, "threads": 1}
    new = {**base, "process_p50_us": {"total": [2.0, 2, 2, 2, 2], "gone": [1]}, "threads": 4}
    (found,) = compare_reports(base, new)
    assert (found.stage, found.verdict, found.ratio) == ("total", "slower", 2.0)
    assert any("threads" in text for text in differences(base, new))
    throttled = {"after": {"throttled": ["throttled"]}, "system": {"board": "Pi"}}
    words = differences({}, throttled)
    assert any("throttled" in text for text in words)
    assert any("board" in text for text in words)
    for odd in ({}, {"process_p50_us": {"total": [1, 2]}}, {"process_p50_us": {"total": ["x"] * 5}}):
        with pytest.raises(InputError):
            compare_reports(odd, new)
    with pytest.raises(InputError):
        compare_reports({"process_p50_us": {"total": [0, 0, 0, 0, 0]}}, new)
