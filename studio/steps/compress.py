"""Step: compress."""

from __future__ import annotations

from imago.edge_runtime.messages import tr
from imago.studio.context import Context
from imago.studio.parts import title


def build(context: Context) -> None:
    """Fill the page."""
    title(tr("Compress"))
