"""What is asked of the model, frame by frame."""

from __future__ import annotations

import time

import numpy as np

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
