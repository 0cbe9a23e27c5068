"""From frames to answers and visits: whole frames, moving regions, or whichever the scene is made for.

``off``: the whole frame is classified, every time. ``on``: only what moves, in full resolution; nothing
runs while nothing moves; but while most of the picture keeps changing (a bee on a swaying thistle, close up)
there is no background to tell it from, and whole frames are classified until there is. ``auto`` begins with
whole frames and keeps to them while something that fills the picture moves, or has not left yet; otherwise
it is like ``on``.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from imago.edge_runtime.decide.options import DecisionOptions
from imago.edge_runtime.decide.visit import Visit
from imago.edge_runtime.decide.whole import WholeFrame
from imago.edge_runtime.errors import InputError
from imago.edge_runtime.events import Event
from imago.edge_runtime.motion.options import MotionOptions
from imago.edge_runtime.motion.pursuit import Motion, Pursuit
from imago.edge_runtime.roi import Roi
from imago.edge_runtime.types import Box, Frame, Prediction, Subject

Mode = Literal["auto", "on", "off"]
MODES: tuple[Mode, ...] = ("auto", "on", "off")
MOSTLY, HARDLY = 0.5, 0.1  # shares of the last while at which it changes over
BLANK_S = 0.2  # a picture that went black so short a time ago cannot make a visit, and looking costs 20 µs
SAMPLE = 8  # every eighth pixel of every eighth row tells whether a picture is blank


@runtime_checkable
class Predictor(Protocol):
    """What is needed of a model: ``Classifier``, or a stand-in."""

    def predict(self, frame: Frame) -> Prediction:
        """The answer for one frame."""
        ...


@dataclass(frozen=True, slots=True)
class Look:
    """What one frame brought. prediction: the whole frame's answer, or the surest region's; all classes
    alike where the model was not asked. calls: how often it was. answered_ns: when its last answer was there,
    on ``time.monotonic_ns``'s clock; 0 where it was not asked.
    """

    prediction: Prediction
    subjects: tuple[Subject, ...]
    events: tuple[Event, ...]
    calls: int
    answered_ns: int = 0


class Watch:
    """Looks at the frames of one source with one model.

    labels: the model's. source, model: names for the events. roi: the part of the frame that counts.
    began: Unix time at which a recording begins (None: when it is first seen).
    ignored: visits that ended as one of the classes for "nothing". unusable: frames the roi did not fit.
    """

    def __init__(
        self,
        predictor: Predictor,
        labels: tuple[str, ...],
        *,
        source: str = "",
        model: str = "",
        mode: Mode = "off",
        decisions: DecisionOptions | None = None,
        motion: MotionOptions | None = None,
        roi: Roi | None = None,
        began: float | None = None,
    ) -> None:
        self._predictor, self._source, self._model, self._roi = predictor, source, model, roi
        self._decisions = decisions or DecisionOptions()
        self._motion = motion or MotionOptions()
        self._nothing = self._decisions.nothing_indices(labels)
        self._whole = WholeFrame(self._decisions, self._nothing)
        self._mode = mode
        self._clueless = Prediction(np.full(len(labels), 1 / len(labels), np.float32), labels)
        self._pursuit = None if mode == "off" else Pursuit(self._ask, self._motion, self._decisions)
        self._fills = _Evidence(self._motion.auto_s / 2, 0.0 if mode == "on" else 1.0)
        self._filled: float | None = None
        self._patience = 0.0
        self._looks_at_all = mode != "on"
        self._answers: list[Prediction] = []
        self._answered = 0
        self._clock = _Clock(began)
        self._blank, self._blank_asked = False, -math.inf
        self.ignored = self.unusable = 0

    @property
    def resets(self) -> int:
        """How often light or camera changed the whole scene at once."""
        return 0 if self._pursuit is None else self._pursuit.resets

    @property
    def whole_frame(self) -> bool:
        """Whether whole frames are looked at now."""
        return self._looks_at_all

    def look(self, frame: Frame) -> Look:
        """Take one frame; the model is asked about all of it, about parts of it, or not at all.

        Raises InputError where the region of interest lies outside of the first frame; a later frame of
        another size that it does not fit is passed over and counted in ``unusable``.
        """
        self._answers, self._answered = [], 0
        placed = (frame, (0, 0)) if self._roi is None else self._placed(frame, self._roi)
        if placed is None:
            return Look(self._clueless, (), (), 0)
        view, offset = placed
        if not self._clock.ticked:
            self._clock.begin(view)
        visits: list[Visit] = []
        subjects: tuple[Subject, ...] = ()
        motion = None if self._pursuit is None else self._pursuit.observe(view)
        if motion is not None:
            visits += self._choose(motion, view.time_s)
        if self._looks_at_all:
            visits += self._whole.step(view, *self._answer(view, offset))
            subjects = () if self._whole.subject is None else (self._whole.subject,)
        elif self._pursuit is not None and motion is not None:
            visits += self._pursuit.pursue(view, motion, offset)
            subjects = self._pursuit.subjects(view.time_s)
        events = self._events(visits) if visits else ()
        return Look(self._surest(), subjects, events, len(self._answers), self._answered)

    def finish(self) -> tuple[Event, ...]:
        """End the visits under way; returns their events."""
        visits = self._whole.finish()
        if self._pursuit is not None:
            visits += self._pursuit.finish()
        return self._events(visits)

    def _placed(self, frame: Frame, roi: Roi) -> tuple[Frame, tuple[int, int]] | None:
        try:
            return roi.view(frame)
        except InputError:
            if not self._clock.ticked:
                raise
            self.unusable += 1
            return None

    def _answer(self, view: Frame, offset: tuple[int, int]) -> tuple[Prediction | None, Box | None]:
        """The answer for all of a view (None: it is blank), and its box where it is a part of the frame."""
        prediction = None if self._is_blank(view) else self._ask(view)
        if self._roi is None:
            return prediction, None
        height, width = view.image.shape[:2]
        return prediction, (*offset, width, height)

    def _is_blank(self, view: Frame) -> bool:
        """``is_blank``, asked now and then only while there is something to see."""
        since = view.time_s - self._blank_asked
        if self._blank or view.name or not 0 <= since < BLANK_S:  # pictures of a folder are unrelated
            self._blank, self._blank_asked = is_blank(view, self._decisions.blank), view.time_s
        return self._blank

    def _surest(self) -> Prediction:
        """The surest answer about this frame."""
        if len(self._answers) == 1:
            return self._answers[0]
        return max(self._answers, key=lambda answer: answer.confidence, default=self._clueless)

    def _ask(self, frame: Frame) -> Prediction:
        answer = self._predictor.predict(frame)
        self._answered = time.monotonic_ns()
        self._answers.append(answer)
        return answer

    def _choose(self, motion: Motion, now: float) -> list[Visit]:
        """Whole frames while something that fills the picture moves. ``auto`` also while its visit lasts,
        but no visit that nothing has moved in for ``still_s``, or ``first_s`` where nothing ever has: a model
        may be sure of an empty garden.
        """
        if self._pursuit is None:
            return []
        fills = self._fills.add(motion.fills, now)
        if motion.fills or self._filled is None:
            self._filled, self._patience = now, self._motion.still_s if motion.fills else self._motion.first_s
        if not self._looks_at_all and fills > MOSTLY:
            self._looks_at_all = True
            return self._whole.adopt(self._pursuit.finish())
        forgotten = self._mode == "on" or now - self._filled > self._patience
        if self._looks_at_all and fills < HARDLY and (forgotten or not self._whole.open):
            self._looks_at_all = False
            return self._whole.finish()
        return []

    def _events(self, visits: list[Visit]) -> tuple[Event, ...]:
        """Events of the visits that were more than a flicker, and of something."""
        events = []
        for visit in visits:
            if not visit.long_enough():
                continue
            event = visit.event(self._source, self._model, self._clock.wall(visit.last))
            if event.top[0].index in self._nothing:
                self.ignored += 1
            else:
                events.append(event)
        return tuple(events)


class _Clock:
    """From the frames' seconds to Unix time; a recording is taken to begin when it is first seen."""

    def __init__(self, began: float | None) -> None:
        self._began = began
        self._recorded = self.ticked = False

    def begin(self, frame: Frame) -> None:
        """Look at the first frame's time."""
        self.ticked, self._recorded = True, frame.media_s is not None
        if self._began is None:
            self._began = time.time() - frame.time_s

    def wall(self, moment: float) -> float:
        """Unix time of ``Frame.time_s``. For a camera by the clock as it is set now."""
        if self._recorded and self._began is not None:
            return self._began + moment
        return time.time() - (time.monotonic() - moment)


class _Evidence:
    """How much of the last while a thing was so, 0 to 1, forgetting with a time constant."""

    def __init__(self, time_constant_s: float, first: float) -> None:
        self._tau, self._value, self._time = time_constant_s, first, math.nan

    def add(self, so: bool, now: float) -> float:
        """The share after one more observation."""
        elapsed = 0.0 if math.isnan(self._time) else max(0.0, now - self._time)
        self._value -= math.expm1(-elapsed / self._tau) * (float(so) - self._value)
        self._time = now
        return self._value


def is_blank(frame: Frame, spread: float) -> bool:
    """Whether a picture shows nothing at all: its grey levels spread less than ``spread``."""
    sample = frame.image[::SAMPLE, ::SAMPLE]
    return float((sample if sample.ndim == 2 else sample[..., 1]).std()) < spread
