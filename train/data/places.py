"""Where pictures are cached; the folder is chosen in the board's room, which keeps unpacked bundles there."""

from __future__ import annotations

from imago.edge_runtime.places import cache_root

__all__ = ["cache_root"]
