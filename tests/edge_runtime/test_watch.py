"""What is asked of the model, frame by frame."""

from __future__ import annotations

import time

import cv2
import numpy as np

from imago.edge_runtime.motion.options import MotionOptions
from imago.edge_runtime.types import Frame, Prediction
from imago.edge_runtime.watch import BLANK_S, Watch

FPS = 20
LABELS = ("ant", "bee")
RNG = np.random.default_rng(1)
NOISE = RNG.integers(0, 256, (60, 80), dtype=np.uint8)
NIGHT = np.full((60, 80), 7, np.uint8)


class Sure:
    """Always sure of an ant; remembers when it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def predict(self, frame: Frame) -> Prediction:
        self.asked.append(frame.index)
        return Prediction(np.array([0.9, 0.1], np.float32), LABELS)


def shown(picture: np.ndarray, index: int) -> Frame:
    return Frame(picture, "gray", 1 + index, index, media_s=index / FPS)


def test_the_model_is_not_asked_about_the_night() -> None:
    sure = Sure()
    watch = Watch(sure, LABELS)
    for index in range(60):
        watch.look(shown(NIGHT if 10 <= index < 40 else NOISE, index))
    late = int(BLANK_S * FPS)  # it may take so long to be noticed
    assert [i for i in sure.asked if 10 + late <= i < 40] == []
    assert [i for i in sure.asked if i < 10] == list(range(10))
    assert [i for i in sure.asked if i >= 40] == list(range(40, 60))  # and the morning is seen at once


def test_every_picture_of_a_folder_is_looked_at_for_itself() -> None:
    sure = Sure()
    watch = Watch(sure, LABELS)
    for index in range(6):
        watch.look(Frame(NIGHT if index % 2 else NOISE, "gray", time.monotonic_ns(), index, f"{index}.png"))
    assert sure.asked == [0, 2, 4]


def test_a_look_tells_when_its_answer_was_there() -> None:
    watch = Watch(Sure(), LABELS)
    before = time.monotonic_ns()
    look = watch.look(shown(NOISE, 0))
    assert before <= look.answered_ns <= time.monotonic_ns()
    assert Watch(Sure(), LABELS).look(shown(NIGHT, 0)).answered_ns == 0


GROUND = cv2.GaussianBlur(RNG.integers(0, 256, (400, 500), np.uint8), (0, 0), 6)
GROUND = cv2.normalize(GROUND, None, 20, 230, cv2.NORM_MINMAX)  # type: ignore[call-overload]


def close_up(index: int, *, swaying: bool) -> Frame:
    """A flower head that fills the picture; on a windy day it is somewhere else in every frame."""
    x, y = (90 + 80 * np.sin(index * 1.3), 70 + 60 * np.cos(index * 0.9)) if swaying else (90, 70)
    part = GROUND[round(y) : round(y) + 240, round(x) : round(x) + 320]
    noise = np.random.default_rng(index).normal(0, 1.5, part.shape)
    return shown(np.clip(part + noise, 0, 255).astype(np.uint8), index)


def test_on_looks_at_whole_frames_while_everything_moves() -> None:
    """There is no background to tell the bee from: a search for regions alone would be blind for ever."""
    sure = Sure()
    watch = Watch(sure, LABELS, mode="on")
    looks = [watch.look(close_up(index, swaying=True)) for index in range(3 * FPS)]
    assert looks[-1].calls == 1
    (event,) = watch.finish()
    assert event.top[0].label == "ant"
    assert event.box is None
    assert event.duration_s > 1


def test_on_leaves_a_still_picture_alone_from_the_first_frame_and_after_a_gust() -> None:
    sure = Sure()
    watch = Watch(sure, LABELS, mode="on")
    gust = range(3 * FPS, 5 * FPS)
    for index in range(12 * FPS):
        watch.look(close_up(index, swaying=index in gust))
    assert sure.asked
    assert min(sure.asked) >= gust.start
    assert max(sure.asked) < 9 * FPS


def test_auto_does_not_believe_for_long_in_a_visit_that_never_moved() -> None:
    """A model that is sure of an empty garden costs one event, and not the first minute of every start."""
    sure = Sure()
    watch = Watch(sure, LABELS, mode="auto")
    limit = int(MotionOptions().first_s * FPS)
    events = [
        e for index in range(limit + 3 * FPS) for e in watch.look(close_up(index, swaying=False)).events
    ]
    assert max(sure.asked) <= limit + 1
    assert [event.box for event in events] == [None]


def test_auto_keeps_to_a_picture_that_was_held_up() -> None:
    """It came in over all of the picture, and then lies still: still there after twice that time."""
    sure = Sure()
    watch = Watch(sure, LABELS, mode="auto")
    length = int(2 * MotionOptions().first_s * FPS)
    for index in range(length):
        watch.look(close_up(index, swaying=index < 3 * FPS))
    assert max(sure.asked) == length - 1
