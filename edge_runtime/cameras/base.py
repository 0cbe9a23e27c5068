"""Where frames come from: one interface for cameras, videos, streams, folders and the synthetic picture."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from imago.edge_runtime.errors import CameraError, InputError
from imago.edge_runtime.spec import InputSpec
from imago.edge_runtime.types import Frame

Size = tuple[int, int]


class Source(Protocol):
    """Frames, one after another, until the source ends or is closed.

    live: frames come at the source's own pace and old ones are worth nothing; otherwise every frame
    counts and waits until it is taken. description: one line for people, without passwords.
    A source may have an attribute ``wanted``; the loop puts a function there that says whether the next frame
    would be used, to be asked before a frame is decoded, and at least once a frame: it is the sign of life.
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
) -> Source:
    """Open what ``uri`` names.

    ``synthetic``; ``picamera`` or ``picamera:1``; ``0`` or ``/dev/video0``; ``rtsp://…``, ``http://…``;
    a folder of pictures; a picture; a video file. size: ``(width, height)`` that is wished for; cameras
    take the nearest they have, files ignore it. fps: wished rate. realtime: play a video at its own
    speed and let frames be dropped, as a camera would. target: the model's input: photos are decoded for
    it, and a camera may skip the colours for a grey one.

    Raises CameraError where it cannot be opened, MissingDependency where its library is not installed.
    """
    if fps is not None and not 0 < fps <= 1000:
        raise InputError("{value} frames per second are not possible; expected 0 to 1000", value=fps)
    kind, _, rest = uri.partition(":")
    if kind == "synthetic" and not rest.startswith("//"):
        from imago.edge_runtime.cameras.synthetic import SyntheticSource

        return SyntheticSource(size or (640, 480), fps=fps, live=realtime)
    if kind == "picamera":
        from imago.edge_runtime.cameras.picamera import PiCameraSource

        if not re.fullmatch(r"\d*", rest):
            raise InputError("{uri}: expected picamera, or picamera: and the camera's number", uri=uri)
        gray = target is not None and target.color == "gray"
        return PiCameraSource(int(rest or 0), size=size or (640, 480), fps=fps, gray=gray)
    if uri.isdigit() or uri.startswith("/dev/video") or re.match(r"[a-z]+://", uri):
        from imago.edge_runtime.cameras.video import open_device, open_stream

        return open_stream(uri) if "://" in uri else open_device(uri, size=size, fps=fps)
    return _open_path(Path(uri), fps, realtime, target)


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
