"""One visit in the making: its answers averaged, its best moment kept."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from imago.edge_runtime.decide.options import DecisionOptions
from imago.edge_runtime.events import Event, event_id
from imago.edge_runtime.resample import resize
from imago.edge_runtime.types import F32, Box, Frame, Prediction, Score, Subject

BETTER = 1.05  # a new best picture is worth its copy only when clearly better


class Smoother:
    """Running average of probabilities with a time constant: frame rates may change, the memory does not.

    ``p ← p + (1 - exp(-dt/τ)) · (x - p)``; the first answer starts it.
    """

    def __init__(self, time_constant_s: float) -> None:
        self._tau = time_constant_s
        self._time = 0.0
        self.value: npt.NDArray[np.float64] | None = None

    def add(self, now: float, row: F32) -> npt.NDArray[np.float64]:
        """The average after one more answer, float64 ``(classes,)``."""
        if self.value is None:
            self.value = row.astype(np.float64)
        else:
            step = row - self.value
            step *= -math.expm1(-max(0.0, now - self._time) / self._tau)
            self.value += step
        self._time = now
        return self.value


class Visit:
    """Everything that is known of one visit so far; its size does not grow with its length.

    start, last: seconds on the frames' clock (``Frame.time_s``). box: where its best picture ``crop`` was
    taken from, in the camera's pixels; None: all of the frame.
    """

    def __init__(self, start: float, options: DecisionOptions) -> None:
        self.start = self.last = start
        self.frames = 0
        self._options = options
        self._sum: npt.NDArray[np.float64] | None = None
        self._weight = 0.0
        self._labels: tuple[str, ...] = ()
        self._best, self._best_label = 0.0, -1
        self.box: Box | None = None
        self.crop: Frame | None = None

    @property
    def answered(self) -> bool:
        """Whether the model was asked at least once."""
        return self._sum is not None

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """Averaged probabilities, float64 ``(classes,)``, once ``answered``."""
        assert self._sum is not None  # noqa: S101  the caller has looked at ``answered``
        return self._sum / self._weight

    def saw(self, now: float) -> None:
        """It is still there at ``now``."""
        self.last = now
        self.frames += 1

    def add(self, prediction: Prediction, weight: float = 1.0) -> None:
        """Count one answer; weight: how well the subject was to be seen, above 0."""
        row = prediction.probabilities.astype(np.float64) * weight
        self._sum = row if self._sum is None else self._sum + row
        self._weight += weight
        self._labels = prediction.labels

    def picture(self, view: Frame, box: Box | None, prediction: Prediction, weight: float = 1.0) -> None:
        """Keep a copy of this view, if it shows the visit's likeliest class best; box: its place."""
        label = int(self.mean.argmax())
        if label != self._best_label:  # the opinion has changed: what spoke for the old one is worth nothing
            self._best, self._best_label = 0.0, label
        quality = weight * float(prediction.probabilities[label])
        if self.crop is None or quality > self._best * BETTER:
            self._best, self.box = quality, box
            self.crop = copied(view, self._options.crop_side)

    def subject(self, row: npt.NDArray[Any], box: Box | None) -> Subject:
        """What to show now, from smoothed probabilities."""
        index = int(row.argmax())
        score = Score(self._labels[index], index, float(row[index]))
        return Subject(score, score.confidence < self._options.threshold, box)

    def top(self) -> tuple[Score, ...]:
        """Likeliest classes of the whole visit, best first."""
        return tuple(Prediction(self.mean.astype(np.float32), self._labels).top(self._options.top_k))

    def long_enough(self) -> bool:
        """Whether it is more than a flicker."""
        return (
            self.frames >= self._options.min_frames
            and self.last - self.start >= self._options.min_s
            and self.answered
        )

    def event(self, source: str, model: str, end: float) -> Event:
        """The finished visit; end: Unix time of ``last``.

        The start is reckoned back from it, since a board without a battery clock may have been set right
        meanwhile.
        """
        top, duration = self.top(), self.last - self.start
        unknown = top[0].confidence < self._options.threshold
        return Event(
            id=event_id(end - duration),
            source=source,
            model=model,
            start=end - duration,
            end=end,
            duration_s=duration,
            frames=self.frames,
            top=top,
            unknown=unknown,
            box=self.box,
            crop=self.crop,
        )


def copied(view: Frame, side: int) -> Frame:
    """The same picture in memory of its own, its longer side at most ``side`` pixels."""
    image, longest = view.image, max(view.image.shape[:2])
    if longest > side:
        height, width = (max(1, round(length * side / longest)) for length in image.shape[:2])
        image = resize(image, width, height)
    return Frame(image.copy(), view.color, view.timestamp_ns, view.index, view.name, view.media_s)
