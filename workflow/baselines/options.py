"""What ``imago baseline`` is asked to do; the one source of its defaults."""

from __future__ import annotations

from dataclasses import dataclass

from imago.edge_runtime.errors import InputError
from imago.edge_runtime.spec import InputSpec

KINDS = ("knn", "svm", "forest")
COLORS = ("gray", "rgb")


@dataclass(frozen=True, slots=True)
class BaselineOptions:
    """kinds: which of ``KINDS``. size: side of the picture in pixels; color: gray or rgb. limit: training
    pictures at most, drawn evenly from the classes (a nearest-neighbour file holds every one of them). trees:
    of the forest. seed: of the draw and of the forest.
    """

    kinds: tuple[str, ...] = KINDS
    size: int = 32
    color: str = "gray"
    limit: int = 5000
    trees: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds:
            raise InputError(
                "--{name} is {value}; expected one of: {choices}",
                name="kind",
                value=", ".join(unknown) or "–",
                choices=", ".join((*KINDS, "all")),
            )
        if self.color not in COLORS:
            raise InputError(
                "--{name} is {value}; expected one of: {choices}",
                name="color",
                value=self.color,
                choices=", ".join(COLORS),
            )
        for name, low, high in (("size", 4, 128), ("limit", 10, 60_000), ("trees", 1, 2000)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(
                    "--{name} is {value}; expected {low} to {high}",
                    name=name,
                    value=value,
                    low=low,
                    high=high,
                )

    @property
    def input(self) -> InputSpec:
        """The contract's input."""
        channels = 1 if self.color == "gray" else 3
        return InputSpec(self.size, self.size, channels, self.color)  # type: ignore[arg-type]
