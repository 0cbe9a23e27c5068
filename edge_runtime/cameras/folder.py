"""A folder of pictures, or one picture, as a source."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from imago.edge_runtime.cameras.pace import Pace
from imago.edge_runtime.errors import CameraError
from imago.edge_runtime.imageio import SUFFIXES, read_image
from imago.edge_runtime.messages import tr
from imago.edge_runtime.spec import InputSpec
from imago.edge_runtime.types import Frame


class FolderSource:
    """The pictures directly in ``path``, by name; or the one picture that ``path`` is.

    fps: rate to show them at. live: let frames be dropped, as a camera would. target: see ``read_image``.
    Raises CameraError where there is no picture.
    """

    unrelated = True  # its pictures have no time: nothing moves, nobody visits

    def __init__(
        self,
        path: Path,
        *,
        fps: float | None = None,
        live: bool = False,
        target: InputSpec | None = None,
    ) -> None:
        self.live = live
        self.paths = pictures(path)
        if not self.paths:
            raise CameraError("there is no picture in {path} (JPEG, PNG, BMP, GIF, WebP, TIFF)", path=path)
        self.description = tr("{count} pictures in {path}", count=len(self.paths), path=path)
        self._pace, self._target = Pace(fps), target

    def __iter__(self) -> Iterator[Frame]:
        for index, path in enumerate(self.paths):
            if not self._pace.wait(index):
                return
            yield replace(read_image(path, self._target), timestamp_ns=time.monotonic_ns(), index=index)

    def close(self) -> None:
        """See ``Source.close``."""
        self._pace.close()


def pictures(path: Path) -> list[Path]:
    """``path`` itself, or the picture files directly in it, by name (the same order on every system)."""
    if not path.is_dir():
        return [path]
    found = (file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
    return sorted((file for file in found if not file.name.startswith(".")), key=lambda file: file.name)
