"""The arithmetic of a search: who trains on, who is dropped, what is on the front."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from imago.edge_runtime.errors import GateError
from imago.train.checkpoint import Position
from imago.train.config import TrainConfig
from imago.workflow.search.coach import SearchCoach
from imago.workflow.search.outcome import Row, choose, pareto
from imago.workflow.search.rungs import (
    GROWTH,
    RUNGS,
    Entry,
    first_length,
    front,
    lags,
    length_of,
    next_promotion,
    ranked,
)
from imago.workflow.search.storage import Silence, this_host


def done(number: int, accuracy: float, p50_us: float, *, rung: int = 0, parent: int | None = None) -> Entry:
    return Entry(number, "complete", rung, accuracy, p50_us, parent, ((0.5, accuracy - 0.1), (1.0, accuracy)))


def test_the_front_is_what_nobody_beats_in_both() -> None:
    slow_good, fast_bad, beaten = done(0, 0.9, 300), done(1, 0.5, 20), done(2, 0.8, 400)
    twin = done(3, 0.9, 300)
    assert [e.number for e in front([slow_good, fast_bad, beaten, twin])] == [1, 0]


def test_one_in_three_is_promoted_and_only_once() -> None:
    rung = [done(k, 0.1 * (k + 1), 100) for k in range(6)]
    assert next_promotion(rung[:2]) is None
    first = next_promotion(rung)
    assert first is not None and first.number == 5
    child = Entry(6, "running", 1, parent=5)
    second = next_promotion([*rung, child])
    assert second is not None and second.number == 4
    assert next_promotion([*rung, child, Entry(7, "waiting", 1, parent=4)]) is None
    # a child that failed does not count: its parent is due again
    again = next_promotion([*rung, Entry(6, "failed", 1, parent=5), Entry(7, "waiting", 1, parent=4)])
    assert again is not None and again.number == 5


def test_a_fast_small_network_is_promoted_beside_a_slow_good_one() -> None:
    slow = [done(k, 0.80 + k / 100, 1000) for k in range(5)]
    fast = done(5, 0.6, 20)
    due = next_promotion([*slow, fast])
    assert due is not None and due.number == 4
    due = next_promotion([*slow, fast, Entry(6, "running", 1, parent=4)])
    assert due is not None and due.number == 5  # 3 is more accurate, but nothing that 4 does not do better


def test_the_best_of_each_network_goes_before_any_second_one() -> None:
    quick = [replace(done(k, 0.30 - k / 100, 20), network="lenet5") for k in range(4)]
    slow = replace(done(4, 0.2, 400), network="resnet18")
    hopeless = replace(done(5, 0.1, 300), network="squeezenet")
    order = [e.number for e in ranked([*quick, slow, hopeless])]
    assert order == [0, 4, 1, 2, 3, 5]


def test_nobody_is_held_against_another_network() -> None:
    peers = [replace(done(k, 0.8, 20), network="lenet5") for k in range(5)]
    behind = Entry(9, "running", 0, p50_us=300, curve=((0.5, 0.4),), network="resnet18")
    assert not lags(behind, peers)
    assert lags(replace(behind, network="lenet5"), peers)


def test_higher_rungs_go_first_and_the_last_is_the_last() -> None:
    below = [done(k, 0.5, 100) for k in range(9)]
    above = [done(10 + k, 0.6, 100, rung=1, parent=k) for k in range(3)]
    due = next_promotion([*below, *above])
    assert due is not None and due.rung == 1
    top = [done(20 + k, 0.7, 100, rung=RUNGS - 1, parent=10 + k) for k in range(3)]
    assert next_promotion([*above, *top]) is None


def test_who_lags_behind_equals_is_stopped_and_a_faster_one_is_not() -> None:
    peers = [done(k, 0.8, 100) for k in range(4)]
    behind = Entry(9, "running", 0, p50_us=100, curve=((0.5, 0.4),))
    assert lags(behind, peers)
    assert not lags(Entry(9, "running", 0, p50_us=50, curve=((0.5, 0.4),)), peers)
    assert not lags(behind, peers[:2])
    assert not lags(Entry(9, "running", 0, p50_us=100, curve=((0.2, 0.1),)), peers)
    assert not lags(Entry(9, "running", 0, p50_us=100, curve=((0.5, 0.71),)), peers)
    assert not lags(Entry(9, "running", 1, p50_us=100, curve=((0.5, 0.4),)), peers)


def test_rungs_add_up_to_powers_of_three_and_to_the_time() -> None:
    assert [sum(length_of(r, 2.0) for r in range(k + 1)) for k in range(RUNGS)] == [2.0, 6.0, 18.0]
    first, workers = first_length(660, 2), 2
    tried = 24
    spent = sum(tried / GROWTH**r * length_of(r, first) for r in range(RUNGS))
    assert spent == pytest.approx(660 * workers, rel=0.01)


def test_a_coach_counts_epochs_and_drops_who_lags() -> None:
    seen: list[float] = []

    def bad(curve: list[tuple[float, float]]) -> bool:
        seen.append(curve[-1][0])
        return len(curve) == 2

    coach = SearchCoach(epochs=4, lags=bad)  # type: ignore[arg-type]
    at = Position(epoch=0, step=1)
    assert coach.steps(at, 10) == 40
    at.epoch, at.step, at.rows = 1, 1, [{"val_accuracy": 0.3, "seconds": 1.0}]
    assert coach.steps(at, 10) == 40
    at.epoch, at.rows = 2, [*at.rows, {"val_accuracy": 0.2, "seconds": 1.0}]
    assert coach.steps(at, 10) == 0 and coach.dropped
    assert coach.curve == [(0.275, 0.3), (0.525, 0.3)] and seen == [0.275, 0.525]


def test_a_coach_keeps_to_the_time_at_any_speed() -> None:
    """The plan converges on what the clock allows; nothing is asserted on how fast this machine is."""
    coach, at, steps = SearchCoach(seconds=0.5), Position(), 0
    began = time.monotonic()
    while True:
        steps += 1
        at.epoch, at.step = divmod(steps, 7)
        time.sleep(0.01)
        if coach.steps(at, 7) <= steps:
            break
    assert time.monotonic() - began >= 0.45
    late = SearchCoach(epochs=100, until=time.time() - 1)
    assert late.steps(Position(step=3), 10) == 3 and late.late


def row(entry: Entry) -> Row:
    return Row(entry, TrainConfig(model="mobilenet_v3_small", size=64), f"{entry.number:04}")


def test_the_choice_keeps_to_the_gate_and_says_what_would_not() -> None:
    rows = [row(done(0, 0.9, 900)), row(done(1, 0.8, 300)), row(done(2, 0.8, 200))]
    assert choose(rows, 0).entry.number == 0
    assert choose(rows, 500).entry.number == 2
    with pytest.raises(GateError, match=r"mobilenet_v3_small, 64 px, takes 0\.200 ms"):
        choose(rows, 100)
    with pytest.raises(GateError, match="no trial came to its end"):
        choose([row(Entry(0, "stopped"))], 0)


def test_a_setting_stands_on_the_front_once_with_its_longest_training() -> None:
    rows = [row(done(0, 0.7, 300)), row(done(1, 0.8, 300, rung=1, parent=0)), row(done(2, 0.5, 20))]
    assert [r.entry.number for r in pareto(rows)] == [2, 1]


def test_a_machine_that_went_silent_is_noticed_and_this_one_is_not() -> None:
    import optuna

    study = optuna.create_study(directions=["maximize", "minimize"])
    far, near = study.ask(), study.ask()
    far.set_user_attr("host", "elsewhere")
    near.set_user_attr("host", this_host())
    silence, look = Silence(60.0), lambda: study.get_trials(deepcopy=False)
    assert silence.gone(look(), 0.0) == [] and silence.gone(look(), 59.0) == []
    far.set_user_attr("curve", [(0.1, 0.5)])
    assert silence.gone(look(), 61.0) == [] and silence.gone(look(), 120.0) == []
    assert [t.number for t in silence.gone(look(), 121.0)] == [far.number]
    study.tell(far, [0.5, 1.0])
    assert silence.gone(look(), 500.0) == []
