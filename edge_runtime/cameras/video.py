"""Video files, network streams (RTSP, HTTP) and the cameras of Windows and macOS, through OpenCV.

Needs the ``[camera]`` extra. Streams are for IP cameras: H.264 and the like have to be unpacked picture by
picture, wanted or not, so a camera that is asked for a small, slow second stream ("substream") is kindest to
the board.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from imago.edge_runtime.cameras.need import Need
from imago.edge_runtime.cameras.pace import Pace
from imago.edge_runtime.errors import CameraError, InputError, MissingDependency
from imago.edge_runtime.messages import tr
from imago.edge_runtime.types import Frame

NETWORK_TIMEOUT_MS = 8000
CLOSE_S = 2.0
DEFAULT_FPS = 30.0  # where a file does not say


class VideoSource:
    """Frames of one opened ``cv2.VideoCapture``, bgr.

    pace: for files. fps: a recording's own rate, which its pictures are dated by; None: live. Running out
    ends a file (``endless`` false), and is a CameraError for a camera.
    """

    def __init__(
        self,
        capture: Any,
        description: str,
        *,
        live: bool,
        pace: Pace,
        endless: bool,
        fps: float | None = None,
    ) -> None:
        self.live, self.description, self._fps = live, description, fps
        self._capture, self._pace, self._endless = capture, pace, endless
        self._reading = threading.Lock()
        self.wanted: Callable[[], bool] = lambda: True

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while self._pace.wait(index):
            with self._reading:
                image = self._read()
            if image is None:
                break
            media_s = None if self._fps is None else index / self._fps
            yield Frame(
                image, "gray" if image.ndim == 2 else "bgr", time.monotonic_ns(), index, media_s=media_s
            )
            index += 1
        if not self._pace.open:
            return
        if self._endless:
            raise CameraError(
                "{source} stopped delivering pictures; is it still connected?", source=self.description
            )
        if index == 0:
            raise CameraError("{source} holds no picture that can be read", source=self.description)

    def _read(self) -> Any:
        """The next picture that is wanted; others are taken off the queue without unpacking them."""
        while self._pace.open and self._capture.grab():
            if not self._endless or self.wanted():
                return self._capture.retrieve()[1]
        return None

    def close(self) -> None:
        """See ``Source.close``. A device that hangs in a read is left alone: closing it would crash."""
        self._pace.close()
        if self._reading.acquire(timeout=CLOSE_S):
            self._capture.release()
            self._reading.release()


def open_file(path: Path, *, fps: float | None, realtime: bool) -> VideoSource:
    """A video file: every frame in order, or with ``realtime`` (or ``fps``) at that speed."""
    cv2 = load_cv2()
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise CameraError(
            "{path} is not a video that can be read; expected for example MP4 or AVI", path=path
        )
    rate = capture.get(cv2.CAP_PROP_FPS)
    own = rate if 0 < rate <= 1000 else DEFAULT_FPS
    pace = Pace(fps or (own if realtime else None))
    return VideoSource(
        capture, tr("video {path}", path=path), live=realtime, pace=pace, endless=False, fps=own
    )


def open_device(uri: str, need: Need) -> VideoSource:
    """A camera of Windows or macOS: its number. (Linux: ``v4l2``.)"""
    cv2 = load_cv2()
    if need.controls:
        raise InputError("{uri} has no settings; --control is for picamera and /dev/video…", uri=uri)
    capture = cv2.VideoCapture(int(uri) if uri.isdigit() else uri)
    if not capture.isOpened():
        raise CameraError(
            "no camera at {uri} (here: {there}); is it plugged in, not used by another program, "
            "and is this user in the group video?",
            uri=uri,
            there=tr("none"),
        )
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, need.wanted[0])
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, need.wanted[1])
    if need.fps is not None:
        capture.set(cv2.CAP_PROP_FPS, need.fps)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not one from the driver's queue
    return VideoSource(capture, tr("camera {uri}", uri=uri), live=True, pace=Pace(None), endless=True)


def open_stream(uri: str) -> VideoSource:
    """An RTSP or HTTP stream."""
    cv2 = load_cv2()
    shown = re.sub(r"//[^/@]*@", "//…@", uri)  # no passwords on the screen or in logs
    timeouts = [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        NETWORK_TIMEOUT_MS,
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        NETWORK_TIMEOUT_MS,
    ]
    capture = cv2.VideoCapture(uri, cv2.CAP_FFMPEG, timeouts)
    if not capture.isOpened():
        raise CameraError(
            "cannot open {uri}; check the address, the network and the camera's login", uri=shown
        )
    return VideoSource(capture, tr("stream {uri}", uri=shown), live=True, pace=Pace(None), endless=True)


def load_cv2() -> Any:
    """OpenCV, quiet: what matters is said in our own words."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        import cv2
    except ImportError as error:
        raise MissingDependency(
            "videos and USB cameras need OpenCV, which is not installed: pip install 'imago-edge[camera]'"
        ) from error
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2
