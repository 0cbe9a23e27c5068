"""The Raspberry Pi's own camera, through picamera2 (Raspberry Pi OS, ``python3-picamera2`` from apt).

The ISP scales the picture in hardware. For a grey model the Y plane of the ``lores`` stream is the
picture, seen in place without a copy; for colour the ``main`` stream delivers it (before the Pi 5,
``lores`` has no RGB).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

from imago.edge_runtime.cameras.base import Size
from imago.edge_runtime.errors import CameraError, MissingDependency
from imago.edge_runtime.messages import tr
from imago.edge_runtime.types import Frame

CLOSE_S = 2.0
BUFFERS = 4  # one being filled, one waiting, one in use, one spare


class PiCameraSource:
    """Camera ``number``, delivering ``size`` ``(width, height)`` (made even) in grey or bgr.

    A frame borrows camera memory: release it, or the camera runs out of buffers.
    """

    live = True

    def __init__(self, number: int, *, size: Size, fps: float | None, gray: bool) -> None:
        self._size = (size[0] + size[0] % 2, size[1] + size[1] % 2)
        self._stream = "lores" if gray else "main"
        self.description = tr(
            "Pi camera {number}, {width}×{height}", number=number, width=size[0], height=size[1]
        )
        self._mapped_array, self._camera = _start(number, self._configuration(gray, fps))
        self._closed, self._reading = threading.Event(), threading.Lock()

    def _configuration(self, gray: bool, fps: float | None) -> dict[str, Any]:
        controls = {} if fps is None else {"FrameRate": float(fps)}
        wanted: dict[str, Any] = {"buffer_count": BUFFERS, "queue": False, "controls": controls}
        if gray:
            main = (max(1280, self._size[0]), max(720, self._size[1]))
            wanted["main"] = {"size": main, "format": "YUV420"}
            wanted["lores"] = {"size": self._size, "format": "YUV420"}
        else:
            wanted["main"] = {"size": self._size, "format": "RGB888"}  # which lies in memory as b, g, r
        return wanted

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while not self._closed.is_set():
            try:
                with self._reading:
                    if self._closed.is_set():
                        return
                    request = self._camera.capture_request()
            except Exception as error:
                raise CameraError(
                    "{source} stopped delivering pictures; is it still connected?", source=self.description
                ) from error
            yield self._frame(request, index)
            index += 1

    def _frame(self, request: Any, index: int) -> Frame:
        taken = _monotonic(request.get_metadata().get("SensorTimestamp"))
        mapped = self._mapped_array(request, self._stream, write=False)
        image = mapped.__enter__().array

        def release() -> None:
            mapped.__exit__(None, None, None)
            request.release()

        if self._stream == "lores":
            width, height = self._size
            return Frame(image[:height, :width], "gray", taken, index, on_release=release)
        return Frame(image, "bgr", taken, index, on_release=release)

    def close(self) -> None:
        """See ``Source.close``. A camera that hangs is left alone."""
        if self._closed.is_set():
            return
        self._closed.set()
        if self._reading.acquire(timeout=CLOSE_S):
            self._camera.stop()
            self._camera.close()
            self._reading.release()


def _start(number: int, wanted: dict[str, Any]) -> tuple[Any, Any]:
    try:
        from picamera2 import MappedArray, Picamera2
    except ImportError as error:
        raise MissingDependency(
            "the Pi camera needs picamera2: sudo apt install python3-picamera2, and a virtual environment "
            "made with python3 -m venv --system-site-packages"
        ) from error
    found = len(Picamera2.global_camera_info())
    if number >= found:
        raise CameraError(
            "no Pi camera number {number}: {found} found; "
            "check the ribbon cable, then rpicam-hello --list-cameras",
            number=number,
            found=found,
        )
    try:
        camera = Picamera2(number)
        camera.configure(camera.create_video_configuration(**wanted))
        camera.start()
    except Exception as error:
        raise CameraError(
            "the Pi camera does not start ({reason}); is another program using it?", reason=error
        ) from error
    return MappedArray, camera


def _monotonic(sensor_timestamp: int | None) -> int:
    """libcamera stamps with CLOCK_BOOTTIME (ns); frames carry ``time.monotonic_ns``'s clock."""
    now = time.monotonic_ns()
    if sensor_timestamp is None:
        return now
    return now - (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - sensor_timestamp)
