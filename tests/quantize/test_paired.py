"""The paired interval against its published formula and against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from imago.quantize.paired import PairedDrop, paired_drop


def test_counts_come_from_the_same_pictures() -> None:
    labels = np.array([0, 0, 1, 1, 2])
    first = np.array([0, 0, 1, 0, 2])  # 4 right
    second = np.array([0, 1, 1, 1, 0])  # 3 right
    drop = paired_drop(labels, first, second)
    assert (drop.n, drop.worse, drop.better) == (5, 2, 1)
    assert drop.drop == pytest.approx(20.0)


def test_interval_is_bonett_and_price() -> None:
    drop = PairedDrop(n=100, worse=12, better=4)
    p12, p21 = 13 / 102, 5 / 102
    half = 1.959964 * math.sqrt((p12 + p21 - (p12 - p21) ** 2) / 102)
    assert drop.interval == pytest.approx((100 * (p12 - p21 - half), 100 * (p12 - p21 + half)))


def test_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    n, worse, better = 400, 0.03, 0.01
    hits = 0
    for _ in range(600):
        w, b, _rest = rng.multinomial(n, [worse, better, 1 - worse - better])
        low, high = PairedDrop(n, int(w), int(b)).interval
        hits += low <= 100 * (worse - better) <= high
    assert hits / 600 > 0.93


@pytest.mark.parametrize(
    ("drop", "verdict"),
    [
        (PairedDrop(10_000, 20, 15), "pass"),  # 0.05 points lost, interval ends at 0.17
        (PairedDrop(10_000, 200, 20), "fail"),  # 1.8 points lost
        (PairedDrop(50, 0, 0), "too few"),  # nothing differs, but 50 pictures prove little
        (PairedDrop(10_000, 0, 0), "pass"),
    ],
)
def test_verdicts(drop: PairedDrop, verdict: str) -> None:
    assert drop.verdict(0.5) == verdict
