"""Decisions: smoothing by time, visits with hysteresis, one event a visit, the best picture kept."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imago.edge_runtime.decide.options import DecisionOptions
from imago.edge_runtime.decide.visit import Smoother, Visit
from imago.edge_runtime.decide.whole import WholeFrame
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.types import Frame, Prediction

LABELS = ("ant", "bee", "background")
NOTHING = frozenset({2})
FPS = 10


def answer(label: int, confidence: float = 0.9) -> Prediction:
    row = np.full(3, (1 - confidence) / 2, np.float32)
    row[label] = confidence
    return Prediction(row, LABELS)


def frame(index: int, level: int = 100) -> Frame:
    return Frame(np.full((48, 64), level, np.uint8), "gray", 1, index, media_s=index / FPS)


def visits(answers: Iterable[Prediction | None], options: DecisionOptions | None = None) -> list[Visit]:
    decider = WholeFrame(options or DecisionOptions(), NOTHING)
    found: list[Visit] = []
    for index, prediction in enumerate(answers):
        found += decider.step(frame(index), prediction)
    return found + decider.finish()


def labels(found: list[Visit]) -> list[str]:
    return [visit.top()[0].label for visit in found]


@pytest.mark.parametrize("fps", [2, 10, 60])
def test_smoothing_depends_on_time_and_not_on_the_frame_rate(fps: int) -> None:
    smoother, tau = Smoother(0.5), 0.5
    smoother.add(0.0, answer(0, 1.0).probabilities)
    for k in range(1, fps + 1):
        smoother.add(k / fps, answer(1, 1.0).probabilities)
    assert smoother.value is not None
    # After one second of another answer, exp(-1/τ) of the old one is left, however often it was asked.
    np.testing.assert_allclose(smoother.value[0], np.exp(-1 / tau), atol=1e-6)


def test_smoothing_stays_a_distribution() -> None:
    rng, smoother = np.random.default_rng(0), Smoother(0.4)
    for k in range(200):
        row = smoother.add(k * rng.random(), rng.dirichlet(np.ones(5)).astype(np.float32))
        assert row.min() >= 0
        assert row.sum() == pytest.approx(1, abs=1e-5)


def test_one_visit_is_one_event_with_its_times() -> None:
    found = visits([answer(2)] * 10 + [answer(0)] * 30 + [answer(2)] * 40)
    assert labels(found) == ["ant"]
    assert found[0].start == pytest.approx(1.0, abs=0.6)  # the average needs a moment to turn
    assert found[0].last == pytest.approx(3.9, abs=0.6)


def test_a_flicker_is_no_visit() -> None:
    assert visits([answer(2)] * 10 + [answer(0)] * 2 + [answer(2)] * 30) == []


def test_a_dip_does_not_split_a_visit_and_a_pause_does() -> None:
    dip = [answer(0)] * 20 + [answer(2)] * 8 + [answer(0)] * 20
    assert labels(visits(dip)) == ["ant"]
    pause = [answer(0)] * 20 + [answer(2)] * 40 + [answer(0)] * 20
    assert labels(visits(pause)) == ["ant", "ant"]


def test_another_class_is_another_visit() -> None:
    assert labels(visits([answer(0)] * 20 + [answer(1)] * 20)) == ["ant", "bee"]


def test_nothing_and_doubt_make_no_visit() -> None:
    assert visits([answer(2, 0.99)] * 50) == []
    assert visits([answer(0, 0.5)] * 50) == []
    assert visits([None] * 50) == []


def test_hysteresis_keeps_a_visit_that_could_not_have_begun_so() -> None:
    found = visits([answer(0)] * 20 + [answer(0, 0.5)] * 30)
    assert found[0].last == pytest.approx(4.9)
    assert found[0].event("s", "m", 10.0).confidence == pytest.approx((20 * 0.9 + 30 * 0.5) / 50, abs=0.01)


def test_a_visit_that_turns_doubtful_is_unknown() -> None:
    event = visits([answer(0)] * 8 + [answer(0, 0.45)] * 60)[0].event("s", "m", 0.0)
    assert event.unknown
    assert event.label == "ant"


def test_a_stay_is_reported_in_parts() -> None:
    found = visits([answer(0)] * 200, DecisionOptions(max_s=5))
    assert len(found) >= 3
    assert all(visit.last - visit.start <= 5.2 for visit in found)


def test_the_start_is_reckoned_back_from_the_end() -> None:
    event = visits([answer(0)] * 30)[0].event("cam", "net", 1000.0)
    assert (event.source, event.model, event.end) == ("cam", "net", 1000.0)
    assert event.start == pytest.approx(1000.0 - event.duration_s)


def test_the_surest_picture_is_kept_in_memory_of_its_own() -> None:
    decider = WholeFrame(DecisionOptions(crop_side=32), NOTHING)
    for index in range(30):
        sure = 0.95 if index == 17 else 0.7
        shown = frame(index, level=index)
        decider.step(shown, answer(0, sure))
        shown.image[:] = 255  # the camera takes its memory back
    crop = decider.finish()[0].crop
    assert crop is not None
    assert crop.image.shape == (24, 32)
    assert int(crop.image[0, 0]) == 17


def test_a_visit_does_not_grow_with_its_length() -> None:
    import pickle  # only to weigh it

    def weight(frames: int) -> int:
        decider = WholeFrame(DecisionOptions(), NOTHING)
        for index in range(frames):
            decider.step(frame(index), answer(0))
        return len(pickle.dumps(decider.finish()[0].__dict__))

    assert weight(2000) <= weight(20) + 64


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.floats(0.34, 1.0), st.integers(1, 12)), min_size=1, max_size=20)
)
def test_visits_never_overlap_and_lie_within_what_was_seen(parts: list[tuple[int, float, int]]) -> None:
    answers = [answer(label, sure) for label, sure, count in parts for _ in range(count)]
    found = visits(answers)
    assert sum(visit.frames for visit in found) <= len(answers)
    for visit in found:
        assert visit.long_enough()
        assert 0 <= visit.start < visit.last <= (len(answers) - 1) / FPS
        assert visit.crop is not None
    for before, after in pairwise(found):
        assert before.start < after.start


@pytest.mark.parametrize("bad", [{"threshold": 1.2}, {"threshold": 0.1}, {"keep": 0.0}, {"gap_s": 0}])
def test_impossible_settings(bad: dict[str, float]) -> None:
    with pytest.raises(InputError):
        DecisionOptions(**bad)  # type: ignore[arg-type]


def test_classes_for_nothing_are_found_by_name() -> None:
    options = DecisionOptions()
    assert options.nothing_indices(("Background", "ant", "背景", "EMPTY")) == frozenset({0, 2, 3})
