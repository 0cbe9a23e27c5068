"""One training parameter as the page shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from imago.edge_runtime.errors import InputError
from imago.studio.workspace import plain

Kind = Literal["number", "whole", "choice", "switch", "run"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One field. name: of ``TrainConfig`` (``data.…``: of its ``DataOptions``). low, high: limits of a
    number. options: of a choice. empty: what an empty field means, "" where it may not be empty. A run is
    named, not where it lies: the workspace may be moved.
    """

    name: str
    kind: Kind
    label: str
    explanation: str
    low: float = 0
    high: float = 0
    step: float | str = "any"
    options: tuple[str, ...] = ()
    empty: str = ""

    def read(self, value: Any) -> Any:
        """A value from the page or the workspace. Raises InputError where it does not fit."""
        if self.kind == "switch":
            return bool(value)
        if self.kind == "choice":
            if value in self.options:
                return value
            raise InputError(
                "{label}: expected one of {choices}", label=self.label, choices=", ".join(self.options)
            )
        if self.empty and value in (None, ""):
            return None
        if self.kind == "run":
            return plain(str(value))
        whole = self.kind == "whole"
        if not isinstance(value, (int, float)) or not self.low <= value <= self.high or (whole and value % 1):
            raise InputError(
                "{label}: expected a number from {low} to {high}",
                label=self.label,
                low=plain_number(self.low),
                high=plain_number(self.high),
            )
        return int(value) if whole else float(value)


def plain_number(value: float) -> str:
    """``0.000001``, not ``1e-06``; ``2147483647``, not ``2.14748e+09``."""
    text = f"{value:.10f}"
    return text.rstrip("0").rstrip(".") or "0"
