"""Who trains on, and who is dropped: successive halving on two objectives. Arithmetic only; nothing is run.

Every setting is first trained for a short time. The best third of each rung trains on, three times as long
in all, from the weights it has (asynchronously, as in ASHA: Li et al. 2020, so that no worker ever waits).
A short time flatters networks that learn fast and end low: on insects10 LeNet-5 leads everything after five
seconds and is far behind after five minutes. So the best trial of each network goes before any second one,
the settings that are tried first begin on the second rung (a bracket of its own, as in Hyperband), and who
lags behind the median of the same network at the same point is stopped (Golovin et al. 2017), never who
lags behind another. Optuna's own pruners know one objective only, and no weights to go on with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

GROWTH = 3  # each rung trains three times as long as the one below, and takes one in three
RUNGS = 3
FIRST_RUNG = 1  # of the settings that are tried first
LEAST_SHARE = 0.5  # of the rung's best accuracy: below, even the best trial of a network has to wait
SAME_SPEED = 1.1  # latencies this close are the same while others work on this machine
CHECKS = (1 / 3, 2 / 3)  # of a rung's length: where laggards are stopped
LEAST_PEERS = 3
State = Literal["waiting", "running", "complete", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One trial as the others see it.

    network: its name; widths and sizes of one network compete with each other. accuracy: on the validation
    pictures, 0..1, None as long as there is none. p50_us: of its engine (0: not yet). parent: number of the
    trial whose weights it goes on with. curve: ``(share of the rung's length, best validation accuracy so
    far)``.
    """

    number: int
    state: State
    rung: int = 0
    accuracy: float | None = None
    p50_us: float = 0.0
    parent: int | None = None
    curve: tuple[tuple[float, float], ...] = field(default=())
    network: str = ""


def dominates(a: Entry, b: Entry) -> bool:
    """Whether ``a`` is at least as accurate and as fast as ``b``, and better in one."""
    mine, other = (-(a.accuracy or 0.0), a.p50_us), (-(b.accuracy or 0.0), b.p50_us)
    return mine[0] <= other[0] and mine[1] <= other[1] and mine != other


def front(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Complete trials that no other dominates, fastest first; of equals the first one."""
    done = [e for e in entries if e.state == "complete" and e.accuracy is not None]
    kept: dict[tuple[float, float], Entry] = {}
    for entry in done:
        if not any(dominates(other, entry) for other in done):
            kept.setdefault((entry.p50_us, entry.accuracy or 0.0), entry)
    return tuple(sorted(kept.values(), key=lambda e: e.p50_us))


def next_promotion(entries: Sequence[Entry]) -> Entry | None:
    """The trial that should train on now, from the highest rung that has one; None where nobody is due."""
    promoted = {e.parent for e in entries if e.parent is not None and e.state != "failed"}
    for rung in range(RUNGS - 2, -1, -1):
        ended = [e for e in entries if e.rung == rung and e.state in ("complete", "stopped")]
        due = ranked([e for e in ended if e.state == "complete"])[: len(ended) // GROWTH]
        left = [e for e in due if e.number not in promoted]
        if left:
            return left[0]
    return None


def ranked(entries: Sequence[Entry]) -> list[Entry]:
    """Best first: the best trial of each network, then what is on the front, then the others; by accuracy."""
    on_front = {e.number for e in front(entries)}
    order = sorted(entries, key=lambda e: (-(e.accuracy or 0.0), e.p50_us))
    least = LEAST_SHARE * (order[0].accuracy or 0.0) if order else 0.0
    heads: dict[str, int] = {}
    for entry in order:
        if (entry.accuracy or 0.0) >= least:
            heads.setdefault(entry.network, entry.number)
    leading = set(heads.values())
    return sorted(order, key=lambda e: (e.number not in leading, e.number not in on_front))


def lags(mine: Entry, others: Sequence[Entry]) -> bool:
    """Whether a running trial is below the median of comparable ones, at a point where that is asked.

    Comparable: same network and rung, at least ``LEAST_PEERS`` of them came this far, and none is slower than
    it, so that a small version is never held against a large one. One standard error of doubt is granted by
    the caller, who adds it to the accuracy in ``mine``.
    """
    if not mine.curve:
        return False
    share, best = mine.curve[-1]
    check = next((c for c in reversed(CHECKS) if share >= c), None)
    if check is None:
        return False
    peers = [
        e for e in others if (e.rung, e.network) == (mine.rung, mine.network) and e.number != mine.number
    ]
    there = [
        at
        for e in peers
        if e.p50_us <= mine.p50_us * SAME_SPEED and (at := accuracy_at(e.curve, share)) is not None
    ]
    return len(there) >= LEAST_PEERS and best < median(there)


def accuracy_at(curve: Sequence[tuple[float, float]], share: float) -> float | None:
    """Best accuracy that a trial had when it was at ``share`` of its length; None where it ended before."""
    if not curve or curve[-1][0] < min(share, 1.0) - 0.05:
        return None
    return max((accuracy for at, accuracy in curve if at <= share + 1e-9), default=0.0)


def length_of(rung: int, first: float) -> float:
    """What a trial that went on trains in ``rung``, on top of what it has; ``first``: length of rung 0."""
    return first if rung == 0 else first * (GROWTH**rung - GROWTH ** (rung - 1))


def first_length(search_s: float, workers: int) -> float:
    """Seconds on rung 0, such that about 24 settings are tried: 24·(1 + 2/3 + 6/9) lengths in all."""
    return max(2.0, search_s * workers / (24 * (1 + 2 * (GROWTH - 1) / GROWTH)))


def standard_error(n: int) -> float:
    """Of an accuracy on ``n`` pictures, at its widest."""
    return 0.5 / math.sqrt(max(1, n))
