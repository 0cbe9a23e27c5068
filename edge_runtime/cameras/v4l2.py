"""USB cameras and everything else that Linux shows as /dev/videoN, without OpenCV.

For UVC cameras (almost every USB webcam, microscope and HDMI grabber) and the kernel's test camera
``vivid``. The mode nearest to the need is chosen; MJPEG is decoded by imago's one decoder, at reduced scale
under the same rule as training photos (decision D5), so that the model sees the bytes that evaluation saw;
for a grey model the Y plane of YUYV or NV12 is the picture, seen in place where its range is that of photos.
A select() with a time limit waits for pictures, so that nothing hangs in the driver; they carry the driver's
own time stamp. CSI cameras of the Raspberry Pi have /dev/video nodes as well, which deliver raw Bayer: they
need ``picamera``.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from imago.edge_runtime.cameras import v4l2_abi as abi
from imago.edge_runtime.cameras.need import Need
from imago.edge_runtime.cameras.pixels import COMPRESSED, COST_COLOR, COST_GRAY, color, luma, stretched
from imago.edge_runtime.errors import CameraError, InputError
from imago.edge_runtime.imageio import read_image
from imago.edge_runtime.messages import tr
from imago.edge_runtime.types import U8, Frame

BUFFERS = 4  # one being filled, one waiting, one in use, one spare
WAIT_S = 0.5
GARBAGE_S = 1.5  # only broken pictures for so long: this is not what it said it was
ORDINARY_FPS = 15.0


class V4l2Source:
    """One camera. ``device``: /dev/videoN. Frames borrow the driver's memory where they are views.

    Raises CameraError where it cannot be opened, is busy, or has no format that can be read; iterating
    raises it where the camera is unplugged, or delivers nothing but broken pictures.
    """

    live = True

    def __init__(self, device: str, need: Need) -> None:
        self.wanted: Callable[[], bool] = lambda: True
        self._device, self._need = device, need
        self._fd = _open(device)
        self._wake_read, self._wake_write = os.pipe()
        self._closing, self._closed = threading.Event(), False
        self._lock = threading.Lock()
        self._iterating = False
        try:
            self.picture = _agree(self._fd, device, need)
            self._maps = [
                _map(self._fd, length, offset) for offset, length in abi.request_buffers(self._fd, BUFFERS)
            ]
            for index in range(len(self._maps)):
                abi.queue(self._fd, index)
            abi.stream(self._fd, True)
        except OSError as error:
            self._free()
            raise _failed(device, error) from error
        except Exception:
            self._free()
            raise
        self.description = tr(
            "camera {uri}, {width}×{height} {format}",
            uri=device,
            width=self.picture.width,
            height=self.picture.height,
            format=self.picture.fourcc.strip(),
        )

    def __iter__(self) -> Iterator[Frame]:
        index, bad_since = 0, None
        self._iterating = True
        try:
            while (filled := self._next()) is not None:
                if not self.wanted():
                    self._give_back(filled.index)
                    continue
                frame = self._frame(filled, index)
                if frame is None:
                    self._give_back(filled.index)
                    bad_since = bad_since or time.monotonic()
                    self._complain(time.monotonic() - bad_since)
                    continue
                bad_since = None
                yield frame
                index += 1
        except OSError as error:
            raise CameraError(
                "{source} stopped delivering pictures; is it still connected?", source=self.description
            ) from error
        finally:
            self._iterating = False
            if self._closing.is_set():
                self._free()

    def _complain(self, seconds: float) -> None:
        if seconds > GARBAGE_S:
            raise CameraError(
                "{source} delivers pictures that cannot be read; another --size, cable or port may help",
                source=self.description,
            )

    def _next(self) -> abi.Filled | None:
        """The next filled buffer, the newest if several wait; None: closed."""
        while not self._closing.is_set():
            ready, _, _ = select.select([self._fd, self._wake_read], [], [], WAIT_S)
            if self._closing.is_set() or self._fd not in ready:
                continue
            newest = None
            with contextlib.suppress(BlockingIOError):
                while True:
                    filled = abi.dequeue(self._fd)
                    if newest is not None:
                        self._give_back(newest.index)
                    newest = filled
            if newest is not None:
                return newest
            self._closing.wait(0.01)  # "ready" was an error without a number
        return None

    def _frame(self, filled: abi.Filled, index: int) -> Frame | None:
        """The frame in a buffer; None where it is broken. A copy gives the buffer back at once."""
        now = time.monotonic_ns()
        taken = filled.timestamp_ns if 0 < now - filled.timestamp_ns < 10 * 10**9 else now
        data = np.frombuffer(self._maps[filled.index], np.uint8)
        if self.picture.fourcc in COMPRESSED:
            return self._decoded(data[: filled.used].tobytes(), filled, taken, index)
        need = self.picture.height * self.picture.stride
        if filled.broken or filled.used < need:
            return None
        return self._uncompressed(data, filled, taken, index)

    def _decoded(self, jpeg: bytes, filled: abi.Filled, taken: int, index: int) -> Frame | None:
        try:
            read = read_image(jpeg, None if self._need.detail else self._need.target)
        except InputError:
            return None
        self._give_back(filled.index)
        return Frame(read.image, read.color, taken, index)

    def _uncompressed(self, data: U8, filled: abi.Filled, taken: int, index: int) -> Frame | None:
        p, give_back = self.picture, partial(self._give_back, filled.index)
        gray = luma(p.fourcc, data, p.width, p.height, p.stride)
        if gray is not None and (self._need.gray or p.fourcc == "GREY"):
            if p.full_range:
                return Frame(gray, "gray", taken, index, on_release=give_back)
            gray = stretched(gray)
            give_back()
            return Frame(gray, "gray", taken, index)
        found = color(p.fourcc, data, p.width, p.height, p.stride)
        if found is None:
            return None
        if np.shares_memory(found[0], data):
            return Frame(found[0], found[1], taken, index, on_release=give_back)
        give_back()
        return Frame(found[0], found[1], taken, index)

    def _give_back(self, index: int) -> None:
        with self._lock:
            if not self._closed:
                with contextlib.suppress(OSError):  # unplugged meanwhile: the next dequeue says so
                    abi.queue(self._fd, index)

    def close(self) -> None:
        """See ``Source.close``. An iteration under way ends within moments and frees the device itself."""
        if not self._closing.is_set():
            self._closing.set()
            with contextlib.suppress(OSError):
                os.write(self._wake_write, b"x")
            if not self._iterating:
                self._free()

    def _free(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._maps = []  # unmapped when the last frame that looks into them is gone
            with contextlib.suppress(OSError):
                abi.stream(self._fd, False)
            with contextlib.suppress(OSError):  # else such a frame keeps the camera busy for whoever is next
                abi.request_buffers(self._fd, 0)
            for fd in (self._fd, self._wake_read, self._wake_write):
                os.close(fd)


def choose(modes: list[abi.Mode], need: Need) -> abi.Mode | None:
    """The mode to ask for: large enough, fast enough, and then cheapest to read; None: nothing readable.

    Bytes and decoding count per pixel: 640×480 YUYV beats 640×480 MJPEG, which beats 1280×720 of anything.
    """
    costs = COST_GRAY if need.gray else COST_COLOR
    width, height = need.wanted
    rate = need.fps or ORDINARY_FPS

    def price(mode: abi.Mode) -> tuple[float, float, float]:
        short = max(0.0, 1 - min(mode.width / width, mode.height / height))
        slow = max(0.0, 1 - mode.fps / (0.9 * rate)) if mode.fps else 0.0
        return round(short, 2), round(slow, 1), mode.width * mode.height * costs[mode.fourcc]

    return min((mode for mode in modes if mode.fourcc in costs), key=price, default=None)


def _agree(fd: int, device: str, need: Need) -> abi.Picture:
    """Set format, rate and controls; returns what the driver made of it."""
    if not abi.query(fd).captures:
        raise CameraError("{uri} delivers no pictures; imago cameras lists those that do", uri=device)
    modes = abi.modes(fd, need.wanted)
    mode = choose(modes, need)
    if mode is None:
        raise CameraError(
            "{uri} has no picture format that can be read (it has {formats}); a CSI camera needs picamera",
            uri=device,
            formats=", ".join(sorted({m.fourcc.strip() for m in modes})) or tr("none"),
        )
    picture = abi.set_format(fd, mode)
    readable = COST_GRAY if need.gray else COST_COLOR
    if picture.fourcc not in readable or not (0 < picture.width <= 16384 and 0 < picture.height <= 16384):
        raise CameraError(
            "{uri} has no picture format that can be read (it has {formats}); a CSI camera needs picamera",
            uri=device,
            formats=picture.fourcc,
        )
    if need.fps is not None:
        abi.set_rate(fd, need.fps)
    _control(fd, device, need)
    return picture


def _control(fd: int, device: str, need: Need) -> None:
    known = {control.name: control for control in abi.controls(fd)} if need.controls else {}
    for name, text in need.controls.items():
        control = known.get(name)
        value = int(text) if text.lstrip("-").isdigit() else None
        if control is None or value is None or not control.least <= value <= control.most:
            raise InputError(
                "{uri} cannot set {name} to {value}; it has {controls}",
                uri=device,
                name=name,
                value=text,
                controls=", ".join(f"{c.name} ({c.least}…{c.most})" for c in known.values()) or tr("none"),
            )
        try:
            abi.set_control(fd, control, value)
        except OSError as error:
            raise _failed(device, error) from error


def _map(fd: int, length: int, offset: int) -> mmap.mmap:
    if sys.version_info >= (3, 13):
        return mmap.mmap(fd, length, offset=offset, trackfd=False)
    return mmap.mmap(fd, length, offset=offset)


def _open(device: str) -> int:
    try:
        return os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise no_camera(device) if error.errno == errno.ENOENT else _failed(device, error) from error


def _failed(device: str, error: OSError) -> CameraError:
    if error.errno == errno.EBUSY:
        return CameraError("{uri} is used by another program; end it first", uri=device)
    if error.errno in (errno.EACCES, errno.EPERM):
        return CameraError(
            "this user may not use {uri}: sudo usermod -aG video $USER, then log in again", uri=device
        )
    return CameraError(
        "{uri} is no camera that can be used ({reason})", uri=device, reason=error.strerror or error
    )


def no_camera(uri: str) -> CameraError:
    """The error for a device that is not there, with those that are."""
    there = sorted(str(path) for path in Path("/dev").glob("video*"))
    return CameraError(
        "no camera at {uri} (here: {there}); is it plugged in, not used by another program, "
        "and is this user in the group video?",
        uri=uri,
        there=", ".join(there) or tr("none"),
    )
