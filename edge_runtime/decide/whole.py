"""Visits of the whole frame: the answers say whether something is there, and what.

A visit begins when the smoothed answer has been sure of one class for a little while, and ends when it
has no longer been half sure for ``gap_s``. The model must know what "nothing" looks like (a class
``background``, see ``DecisionOptions.nothing``) or be unsure of an empty scene; a model that is sure of
everything sees visitors in an empty garden, and no decision can mend that.
"""

from __future__ import annotations

from imago.edge_runtime.decide.options import DecisionOptions
from imago.edge_runtime.decide.visit import Smoother, Visit
from imago.edge_runtime.types import Box, Frame, Prediction, Subject


class WholeFrame:
    """Turns one answer a frame into visits, one at a time.

    nothing: class indices that mean that nothing is there.
    """

    def __init__(self, options: DecisionOptions, nothing: frozenset[int]) -> None:
        self._options, self._nothing = options, nothing
        self._smoother = Smoother(options.smoothing_s)
        self._visit: Visit | None = None
        self._label = -1
        self._candidate: Visit | None = None
        self._candidate_label = -1
        self._missed = 0
        self.subject: Subject | None = None

    @property
    def open(self) -> bool:
        """Whether a visit is under way."""
        return self._visit is not None

    def adopt(self, visits: list[Visit]) -> list[Visit]:
        """Go on with the longest of these visits, begun by somebody else; returns the others."""
        longest = max((v for v in visits if v.answered), key=lambda visit: visit.frames, default=None)
        if longest is None or self._visit is not None or int(longest.mean.argmax()) in self._nothing:
            return visits
        self._visit, self._label, self._missed = longest, int(longest.mean.argmax()), 0
        return [visit for visit in visits if visit is not longest]

    def step(self, frame: Frame, prediction: Prediction | None, box: Box | None = None) -> list[Visit]:
        """Take the answer for one frame (None: a blank one); returns the visits that ended. box: what was
        looked at, in the frame's pixels.
        """
        now, options = frame.time_s, self._options
        finished: list[Visit] = []
        self.subject = None
        if prediction is None:
            self._smoother = Smoother(options.smoothing_s)
            self._candidate = None
        else:
            row = self._smoother.add(now, prediction.probabilities)
            best = int(row.argmax())
            sure = float(row[best]) >= options.threshold and best not in self._nothing
            finished += self._challenge(frame, prediction, box, best if sure else -1)
            if self._visit is not None and float(row[self._label]) >= options.keep:
                self._see(self._visit, frame, prediction, box)
                self._missed = -1
                self.subject = self._visit.subject(row, box)
        self._missed += 1
        return finished + self._ended(now)

    def _challenge(self, frame: Frame, prediction: Prediction, box: Box | None, best: int) -> list[Visit]:
        """Another class that stays sure for long enough begins a visit, and ends the one under way."""
        if best < 0 or (self._visit is not None and best == self._label):
            self._candidate = None
            return []
        if self._candidate is None or best != self._candidate_label:
            self._candidate, self._candidate_label = Visit(frame.time_s, self._options), best
        candidate = self._candidate
        self._see(candidate, frame, prediction, box)
        if not candidate.long_enough():
            return []
        finished = [] if self._visit is None else [self._visit]
        self._visit, self._label, self._candidate = candidate, best, None
        return finished

    def _see(self, visit: Visit, frame: Frame, prediction: Prediction, box: Box | None) -> None:
        if visit.frames and visit.last == frame.time_s:
            return  # seen as the candidate a moment ago
        visit.saw(frame.time_s)
        visit.add(prediction)
        visit.picture(frame, box, prediction)

    def _ended(self, now: float) -> list[Visit]:
        visit, options = self._visit, self._options
        if visit is None:
            return []
        gone = now - visit.last > options.gap_s and self._missed >= 2
        if not gone and visit.last - visit.start <= options.max_s:
            return []
        self._visit = None
        return [visit]

    def finish(self) -> list[Visit]:
        """End what is under way."""
        finished = [] if self._visit is None else [self._visit]
        self._visit = self._candidate = self.subject = None
        self._smoother = Smoother(self._options.smoothing_s)
        return finished
