"""The Raspberry Pi's own cameras (CSI ribbon), through picamera2 (``python3-picamera2`` from apt).

For every camera module on every Pi with Raspberry Pi OS bookworm or later. The ISP scales the picture in
hardware to little more than the model needs. For a grey model the stream is YUV420 and its Y plane is the
picture, seen in place without a copy, and no colours are made at all. Where moving regions are looked for,
the main stream is large and the ``lores`` stream delivers the small grey picture that the search needs, made
by the ISP as well; otherwise there is one stream only, which saves CMA memory (scarce on a Zero 2 W).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

from imago.edge_runtime.cameras.base import Size
from imago.edge_runtime.cameras.need import Need
from imago.edge_runtime.cameras.picamera_controls import flips, settings
from imago.edge_runtime.cameras.pixels import color as color_of
from imago.edge_runtime.errors import CameraError, InputError, MissingDependency
from imago.edge_runtime.messages import tr
from imago.edge_runtime.types import U8, Color, Frame

CLOSE_S = 2.0
BUFFERS = 4  # one being filled, one waiting, one in use, one spare
SMALL_WIDTH = 160
FOURCC = {"RGB888": "BGR3", "BGR888": "RGB3", "YUV420": "YU12", "NV12": "NV12"}  # libcamera's names → V4L2's


class PiCameraSource:
    """Camera ``number``, delivering about ``need.wanted`` pixels in grey or bgr.

    A frame borrows camera memory: release it, or the camera runs out of buffers.
    """

    live = True

    def __init__(self, number: int, need: Need) -> None:
        width, height = need.wanted
        self._size = (width + width % 2, height + height % 2)
        self._gray, self._fourcc = need.gray, ""
        self._small = small_size(self._size) if need.detail else None
        self._mapped_array, self._camera = self._start(number, need)
        self.description = tr(
            "Pi camera {number}, {width}×{height}", number=number, width=self._size[0], height=self._size[1]
        )
        self._closed, self._reading = threading.Event(), threading.Lock()

    def _start(self, number: int, need: Need) -> tuple[Any, Any]:
        mapped_array, camera = _open(number)
        try:
            try:
                self._configure(camera, need)
            except (RuntimeError, ValueError):
                if self._small is None:
                    raise
                self._small = None  # this ISP cannot make so small a second stream: the CPU does it
                self._configure(camera, need)
            camera.set_controls(settings(need.controls, camera.camera_controls))
            camera.start()
        except Exception as error:
            with contextlib.suppress(Exception):
                camera.close()
            if isinstance(error, InputError):
                raise
            raise CameraError(
                "the Pi camera does not start ({reason}); is another program using it?", reason=error
            ) from error
        return mapped_array, camera

    def _configure(self, camera: Any, need: Need) -> None:
        from libcamera import ColorSpace, Transform

        wanted: dict[str, Any] = {
            # Full range, as in JPEG photos: video's own default squeezes Y into 16…235.
            "colour_space": ColorSpace.Sycc(),
            "transform": Transform(**flips(need.controls)),
            "main": {"size": self._size, "format": "YUV420" if self._gray else "RGB888"},
            "buffer_count": BUFFERS,
            "queue": False,
            "controls": {} if need.fps is None else {"FrameRate": float(need.fps)},
        }
        if self._small is not None:
            wanted["lores"] = {"size": self._small, "format": "YUV420"}
        camera.configure(camera.create_video_configuration(**wanted))
        made = camera.camera_configuration()  # it may have been moved to what the ISP can do
        self._size = tuple(made["main"]["size"])
        self._fourcc = FOURCC.get(made["main"]["format"], "")
        if not self._fourcc:
            raise ValueError(made["main"]["format"])
        if self._small is not None and tuple(made["lores"]["size"]) != small_size(self._size):
            raise ValueError(made["lores"]["size"])

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
        taken = monotonic_of(request.get_metadata().get("SensorTimestamp"))
        with contextlib.ExitStack() as stack:
            stack.callback(request.release)
            image, color = self._picture(self._plane(stack, request, "main"))
            small = None
            if self._small is not None:
                small = self._plane(stack, request, "lores")[: self._small[1], : self._small[0]]
            held = stack.pop_all()

        def release() -> None:
            with contextlib.suppress(BufferError):  # somebody still looks: unmapped when he is done
                held.close()

        return Frame(image, color, taken, index, small=small, on_release=release)

    def _plane(self, stack: contextlib.ExitStack, request: Any, name: str) -> U8:
        array: U8 = stack.enter_context(self._mapped_array(request, name, write=False)).array
        return array

    def _picture(self, array: U8) -> tuple[U8, Color]:
        width, height = self._size
        if array.ndim == 3:
            return array, "bgr" if self._fourcc == "BGR3" else "rgb"
        if self._gray:
            return array[:height, :width], "gray"
        found = color_of(self._fourcc, array.reshape(-1), width, height, array.shape[1])
        if found is None:
            raise CameraError(
                "the Pi camera does not start ({reason}); is another program using it?", reason=self._fourcc
            )
        return found

    def close(self) -> None:
        """See ``Source.close``. A camera that hangs is left alone."""
        if self._closed.is_set():
            return
        self._closed.set()
        if self._reading.acquire(timeout=CLOSE_S):
            self._camera.stop()
            self._camera.close()
            self._reading.release()


def small_size(size: Size) -> Size | None:
    """A size that is a power of two smaller and at most 160 wide, in even pixels; None: there is none."""
    factor = 2
    while size[0] // factor > SMALL_WIDTH:
        factor *= 2
    width, height = size[0] // factor, size[1] // factor
    exact = (width * factor, height * factor) == size and width % 2 == 0 and height % 2 == 0
    return (width, height) if exact else None


def _open(number: int) -> tuple[Any, Any]:
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
        return MappedArray, Picamera2(number)
    except Exception as error:
        raise CameraError(
            "the Pi camera does not start ({reason}); is another program using it?", reason=error
        ) from error


def monotonic_of(sensor_timestamp: int | None) -> int:
    """libcamera stamps with CLOCK_BOOTTIME (ns); frames carry ``time.monotonic_ns``'s clock."""
    now = time.monotonic_ns()
    if sensor_timestamp is None:
        return now
    return now - (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - sensor_timestamp)
