"""Who decides how long a training is to be, where it is not the number of epochs."""

from __future__ import annotations

from typing import Protocol

from imago.train.checkpoint import Position


class Coach(Protocol):
    """Decides while a run goes on how long it is to be (a budget of time, a search that drops what is bad).

    The learning rate follows: it has run down when the last step is done, whenever that is. What a clock
    decides is not the same twice: such a run resumes where it was, but not bit for bit as it would have gone.
    """

    def steps(self, at: Position, per_epoch: int) -> int:
        """Steps of the whole run, asked after each step; no more than are done already: it ends here."""
        ...
