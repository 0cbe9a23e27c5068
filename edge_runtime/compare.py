"""Is it faster than before? Two benches compared by a test whose false alarms are known.

Times of one process are no independent sample: they drift with clock and heat, and every new process lays
out its memory anew, which shifts all of its times together by some percent. Tests on single runs therefore
"find" differences between a program and itself (benchmarks of ours: in most comparisons). The unit here is
the process: one p50 from each of several fresh processes, as Kalibera & Jones (2013, "Rigorous benchmarking
in reasonable time") and Georges et al. (2007) advise. Those are compared with the exact Mann–Whitney test;
the ratio is Hodges & Lehmann's estimate (1963) on logarithms with the interval that belongs to the test.

What no test can see: that the room was warmer or another program ran the second time. ``differences`` lists
what the two reports say about that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Literal

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.messages import tr

ALPHA = 0.05
NEGLIGIBLE = 1.02  # two builds of the same code differ by as much
FEWEST = 4  # 4 against 4 processes is the least for which p < 0.05 exists
Verdict = Literal["faster", "slower", "same", "cannot tell"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """New against old. ratio: new time over old, with its interval (1 - ``ALPHA``); p: of the exact test.

    verdict: *faster*, *slower*: significant, and the ratio is beyond ``NEGLIGIBLE``; *same*: the whole
    interval lies within ``NEGLIGIBLE``; else *cannot tell*.
    """

    stage: str
    ratio: float
    low: float
    high: float
    p: float
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {key: round(v, 5) if isinstance(v, float) else v for key, v in asdict(self).items()}


def compare(stage: str, old: Sequence[float], new: Sequence[float]) -> Comparison:
    """Compare per-process p50s (any unit above 0, at least ``FEWEST`` on each side; else InputError)."""
    if min(len(old), len(new)) < FEWEST:
        raise InputError(
            "{old} and {new} processes are too few to compare; measure with --processes {least} or more",
            old=len(old),
            new=len(new),
            least=FEWEST,
        )
    p = mann_whitney_p(old, new)
    differences = sorted(math.log(b) - math.log(a) for a in old for b in new)
    skipped = critical(len(old), len(new))
    low, high = math.exp(differences[skipped]), math.exp(differences[-1 - skipped])
    middle = (differences[(len(differences) - 1) // 2] + differences[len(differences) // 2]) / 2
    ratio = math.exp(middle)
    verdict: Verdict = "cannot tell"
    if low >= 1 / NEGLIGIBLE and high <= NEGLIGIBLE:
        verdict = "same"
    elif p < ALPHA and not 1 / NEGLIGIBLE <= ratio <= NEGLIGIBLE:
        verdict = "slower" if ratio > 1 else "faster"
    return Comparison(stage, ratio, low, high, p, verdict)


def compare_reports(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Comparison]:
    """Stage by stage, where both reports (``BenchReport.to_dict``) have it. Raises InputError."""
    before, after = old.get("process_p50_us"), new.get("process_p50_us")
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        raise InputError("this is no report that can be compared (of imago bench --json, schema 2 or newer)")
    try:
        return [
            compare(name, [float(v) for v in before[name]], after[name]) for name in after if name in before
        ]
    except (TypeError, ValueError) as error:
        raise InputError("the older report is damaged ({reason}); measure again", reason=error) from error


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What else differs between two reports, in sentences: a verdict says nothing about its cause."""
    found = []
    for key, name in (
        ("sha256", tr("the model file")),
        ("engine", tr("the engine")),
        ("engine_version", tr("the engine's version")),
        ("threads", tr("the number of threads")),
        ("frame", tr("the picture size")),
    ):
        if old.get(key) != new.get(key):
            a, b = (str(report.get(key))[:24] for report in (old, new))
            found.append(tr("{name} ({old} → {new})", name=name, old=a, new=b))
    machines = [report.get("system") or {} for report in (old, new)]
    for key in ("board", "cpu", "os", "kernel", "governor", "python"):
        if machines[0].get(key) != machines[1].get(key):
            values = [machine.get(key) for machine in machines]
            found.append(tr("{name} ({old} → {new})", name=key, old=values[0], new=values[1]))
    for report, name in ((old, tr("the older run")), (new, tr("this run"))):
        if (report.get("after") or {}).get("throttled"):
            found.append(tr("{name} was throttled", name=name))
    return found


def mann_whitney_p(a: Sequence[float], b: Sequence[float]) -> float:
    """Exact two-sided p of Mann & Whitney's test (1947); ties count half, which makes it conservative."""
    u = sum((x < y) + 0.5 * (x == y) for x in a for y in b)
    u = min(u, len(a) * len(b) - u)
    ways = _ways(len(a), len(b))
    tail = sum(ways[: math.floor(u) + 1])
    if u != math.floor(u):
        tail += ways[math.floor(u) + 1]
    return min(1.0, 2 * tail / sum(ways))


def critical(n: int, m: int, alpha: float = ALPHA) -> int:
    """The largest U that is significant; as many sorted pairwise differences lie outside of the interval,
    at each end."""
    ways = _ways(n, m)
    tail = 0
    for u, count in enumerate(ways):
        tail += count
        if 2 * tail > alpha * sum(ways):
            return max(0, u - 1)
    return 0


@cache
def _ways(n: int, m: int) -> tuple[int, ...]:
    """In how many of the orders of n and m values Mann & Whitney's U is 0, 1, 2 … (the Gaussian binomial)."""
    if n == 0 or m == 0:
        return (1,)
    last_of_first, last_of_second = _ways(n - 1, m), _ways(n, m - 1)
    counts = [0] * (n * m + 1)
    for u, count in enumerate(last_of_first):
        counts[u + m] += count
    for u, count in enumerate(last_of_second):
        counts[u] += count
    return tuple(counts)
