"""Which packages a board gets: a kit's, or imago's own wheel alone, and the rest from the net there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from imago.deploy.board.wheelhouse import wheels_in
from imago.deploy.kit.own_wheel import own_wheel


@contextmanager
def wheels_for(kit: Path | None, say: Callable[[str], None]) -> Iterator[dict[str, Path]]:
    """Wheels by name. kit: a folder that ``imago kit`` made, or any folder of wheels. Raises DeployError."""
    if kit is not None:
        yield wheels_in(kit)
        return
    with tempfile.TemporaryDirectory(prefix="imago-") as folder:
        path = own_wheel(Path(folder), say)
        yield {path.name: path}
