"""What is needed of a camera, so that it delivers little more than that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from imago.edge_runtime.cameras.base import ORDINARY, Size
from imago.edge_runtime.spec import InputSpec

DETAIL: Size = (1280, 720)  # for moving regions: a 3 % insect has 36 pixels
LEAST_HEIGHT = 240


@dataclass(frozen=True, slots=True)
class Need:
    """size, fps: what the user asked for. target: the model's input. detail: small subjects are cut out of
    the picture, which therefore has to be large. controls: the camera's own settings, by name.
    """

    size: Size | None = None
    fps: float | None = None
    target: InputSpec | None = None
    detail: bool = False
    controls: Mapping[str, str] = field(default_factory=dict)

    @property
    def gray(self) -> bool:
        """Whether the model sees no colours."""
        return self.target is not None and self.target.color == "gray"

    @property
    def wanted(self) -> Size:
        """The size to ask for: the user's; for details 1280×720; else 4:3 and twice the model's input, which
        leaves the resize one exact halving to do.
        """
        if self.size is not None:
            return self.size
        if self.detail:
            return DETAIL
        if self.target is None:
            return ORDINARY
        height = max(LEAST_HEIGHT, 2 * max(self.target.size))
        height += -height % 16
        return height * 4 // 3 // 16 * 16, height
