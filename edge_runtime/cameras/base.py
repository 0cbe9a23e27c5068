"""Where frames come from: one interface for cameras, videos, streams, folders and the synthetic picture."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from imago.edge_runtime.errors import CameraError, InputError
from imago.edge_runtime.spec import InputSpec
from imago.edge_runtime.types import Frame

if TYPE_CHECKING:
    from imago.edge_runtime.cameras.need import Need

Size = tuple[int, int]
ORDINARY: Size = (640, 480)


class Source(Protocol):
    """Frames, one after another, until the source ends or is closed.

    live: frames come at the source's own pace and old ones are worth nothing; otherwise every frame
    counts and waits until it is taken. description: one line for people, without passwords.
    A source may have an attribute ``wanted``; the loop puts a function there that says whether the next frame
    would be used, to be asked before a frame is decoded, and at least once a frame: it is the sign of life.
    An attribute ``unrelated`` that is true says that its pictures do not show one scene over time.
    """

    live: bool
    description: str

    def __iter__(self) -> Iterator[Frame]:
        """Frames in order. Raises CameraError where the source breaks off."""
        ...

    def close(self) -> None:
        """Give the device back; an iteration under way in another thread ends. Harmless when called twice."""
        ...


def is_camera(uri: str) -> bool:
    """Whether ``uri`` names something endless, to be opened again when it fails; not a file or folder."""
    kind, _, rest = uri.partition(":")
    if kind in ("picamera", "synthetic") and not rest.startswith("//"):
        return True
    return uri.isdigit() or uri.startswith("/dev/video") or re.match(r"[a-z]+://", uri) is not None


def open_source(
    uri: str,
    *,
    size: Size | None = None,
    fps: float | None = None,
    realtime: bool = False,
    target: InputSpec | None = None,
    detail: bool = False,
    controls: Mapping[str, str] | None = None,
) -> Source:
    """Open what ``uri`` names.

    ``synthetic``; ``picamera`` or ``picamera:1``; ``0`` or ``/dev/video0``; ``rtsp://…``, ``http://…``;
    a folder of pictures; a picture; a video file. size: ``(width, height)`` that is wished for; cameras
    take the nearest they have, files ignore it. fps: wished rate. realtime: play a video at its own
    speed and let frames be dropped, as a camera would. target: the model's input: photos are decoded for
    it, and a camera delivers little more than it needs; detail: a camera delivers a large picture all the
    same, for small subjects. controls: a camera's own settings (docs/cameras.md).

    Raises CameraError where it cannot be opened, MissingDependency where its library is not installed.
    """
    from imago.edge_runtime.cameras.need import Need

    if fps is not None and not 0 < fps <= 1000:
        raise InputError("{value} frames per second are not possible; expected 0 to 1000", value=fps)
    need = Need(size, fps, target, detail, controls or {})
    kind, _, rest = uri.partition(":")
    if kind == "picamera":
        from imago.edge_runtime.cameras.picamera import PiCameraSource

        if not re.fullmatch(r"\d*", rest):
            raise InputError("{uri}: expected picamera, or picamera: and the camera's number", uri=uri)
        return PiCameraSource(int(rest or 0), need)
    if uri.isdigit() or uri.startswith("/dev/video"):
        return _open_device(uri, need)
    if need.controls:
        raise InputError("{uri} has no settings; --control is for picamera and /dev/video…", uri=uri)
    if kind == "synthetic" and not rest.startswith("//"):
        from imago.edge_runtime.cameras.synthetic import SyntheticSource

        return SyntheticSource(size or ORDINARY, fps=fps, live=realtime)
    if re.match(r"[a-z]+://", uri):
        from imago.edge_runtime.cameras.video import open_stream

        return open_stream(uri)
    return _open_path(Path(uri), fps, realtime, target)


def _open_device(uri: str, need: Need) -> Source:
    """Linux' own interface where it is; elsewhere OpenCV."""
    if sys.platform == "linux" and sys.maxsize > 2**32:
        from imago.edge_runtime.cameras.v4l2 import V4l2Source

        return V4l2Source(f"/dev/video{uri}" if uri.isdigit() else uri, need)
    from imago.edge_runtime.cameras.video import open_device

    return open_device(uri, need)


def _open_path(path: Path, fps: float | None, realtime: bool, target: InputSpec | None) -> Source:
    from imago.edge_runtime.imageio import SUFFIXES

    if path.is_dir() or path.suffix.lower() in SUFFIXES:
        from imago.edge_runtime.cameras.folder import FolderSource

        return FolderSource(path, fps=fps, live=realtime, target=target)
    if not path.is_file():
        raise CameraError(
            "no such source: {uri}; expected a video, a picture, a folder, /dev/video0, rtsp://…, "
            "picamera or synthetic",
            uri=path,
        )
    from imago.edge_runtime.cameras.video import open_file

    return open_file(path, fps=fps, realtime=realtime)
