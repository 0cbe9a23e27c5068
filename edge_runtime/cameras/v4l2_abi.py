"""Linux' camera interface (V4L2) as plain functions: the ioctls and structures of ``linux/videodev2.h``.

64-bit layouts; sizes and numbers are held against the C header in the tests. Only single-planar capture
with memory-mapped buffers, which is what USB cameras and ``vivid`` have.
"""

from __future__ import annotations

import errno
import fcntl
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

CAPTURE, MMAP = 1, 1
CAP_CAPTURE, CAP_STREAMING, CAP_DEVICE_CAPS = 0x1, 0x04000000, 0x80000000
BUFFER_ERROR = 0x40
TIMESTAMP_MASK, TIMESTAMP_MONOTONIC = 0xE000, 0x2000
DISCRETE = 1
FULL_RANGE, LIMITED_RANGE, COLORSPACE_JPEG = 1, 2, 7
NEXT_CONTROL = 0x80000000
CONTROL_UNUSABLE = 0x1 | 0x4  # disabled, read-only
CONTROL_NUMBERS = (1, 2, 3, 9)  # integer, boolean, menu, integer menu

CAPABILITY = struct.Struct("16s32s32sIII12x")
FMTDESC = struct.Struct("III32sII12x")
FRMSIZE = struct.Struct("III24s8x")
FRMIVAL = struct.Struct("IIIII24s8x")
# type; width, height, pixelformat, field, bytesperline, sizeimage, colorspace, priv, flags, encoding,
# quantization
FORMAT = struct.Struct("I4xIIIIIIIIIII156x")
STREAMPARM = struct.Struct("IIIII184x")  # type; capability, mode, time per frame
REQBUFS = struct.Struct("IIIII")
BUFFER = struct.Struct("IIIII4xqq16xIIIIIII4x")
QUERYCTRL = struct.Struct("II32siiiiI8x")
CONTROL = struct.Struct("Ii")
INT = struct.Struct("i")


def _number(direction: int, number: int, layout: struct.Struct) -> int:
    return direction << 30 | layout.size << 16 | ord("V") << 8 | number


READ, WRITE, BOTH = 2, 1, 3
QUERYCAP = _number(READ, 0, CAPABILITY)
ENUM_FMT = _number(BOTH, 2, FMTDESC)
S_FMT = _number(BOTH, 5, FORMAT)
REQUEST = _number(BOTH, 8, REQBUFS)
QUERYBUF = _number(BOTH, 9, BUFFER)
QBUF = _number(BOTH, 15, BUFFER)
DQBUF = _number(BOTH, 17, BUFFER)
STREAMON = _number(WRITE, 18, INT)
STREAMOFF = _number(WRITE, 19, INT)
S_PARM = _number(BOTH, 22, STREAMPARM)
S_CTRL = _number(BOTH, 28, CONTROL)
QUERY_CONTROL = _number(BOTH, 36, QUERYCTRL)
ENUM_FRAMESIZES = _number(BOTH, 74, FRMSIZE)
ENUM_FRAMEINTERVALS = _number(BOTH, 75, FRMIVAL)


@dataclass(frozen=True, slots=True)
class Device:
    """What a device says of itself. capabilities: of this node."""

    driver: str
    card: str
    bus: str
    capabilities: int

    @property
    def captures(self) -> bool:
        """Whether pictures can be read from it as this module does."""
        return self.capabilities & CAP_CAPTURE != 0 and self.capabilities & CAP_STREAMING != 0


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to deliver pictures. fourcc: pixel format. fps: fastest, 0 where the driver does not say."""

    fourcc: str
    width: int
    height: int
    fps: float


@dataclass(frozen=True, slots=True)
class Picture:
    """The format that was agreed on. stride: bytes from row to row. full_range: black is 0 and white 255;
    else Y goes from 16 to 235.
    """

    fourcc: str
    width: int
    height: int
    stride: int
    full_range: bool


@dataclass(frozen=True, slots=True)
class Filled:
    """A buffer that the driver has filled. timestamp_ns: monotonic clock, 0 where it is another one."""

    index: int
    used: int
    broken: bool
    timestamp_ns: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Control:
    """Something that can be set: name as v4l2-ctl writes it."""

    id: int
    name: str
    least: int
    most: int
    default: int


def query(fd: int) -> Device:
    """VIDIOC_QUERYCAP. Raises OSError where it is no V4L2 device."""
    raw = bytearray(CAPABILITY.size)
    fcntl.ioctl(fd, QUERYCAP, raw)
    driver, card, bus, _version, all_caps, node_caps = CAPABILITY.unpack(raw)
    caps = node_caps if all_caps & CAP_DEVICE_CAPS else all_caps
    return Device(_text(driver), _text(card), _text(bus), caps)


def modes(fd: int, wish: tuple[int, int] | None = None) -> list[Mode]:
    """Every pixel format and size that the driver lists; of a range its least, its largest, and the wish."""
    found = []
    for raw in _each(fd, ENUM_FMT, lambda i: FMTDESC.pack(i, CAPTURE, 0, b"", 0, 0)):
        code = FMTDESC.unpack(raw)[4]
        for width, height in _sizes(fd, code, wish):
            found.append(Mode(fourcc(code), width, height, _rate(fd, code, width, height)))
    return found


def set_format(fd: int, mode: Mode) -> Picture:
    """VIDIOC_S_FMT; the driver may choose something else, which is what is returned."""
    raw = bytearray(FORMAT.pack(CAPTURE, mode.width, mode.height, code_of(mode.fourcc), 1, *[0] * 7))
    fcntl.ioctl(fd, S_FMT, raw)
    _, width, height, code, _, stride, _, space, _, _, _, quantization = FORMAT.unpack(raw)
    return Picture(fourcc(code), width, height, stride, _full_range(fourcc(code), space, quantization))


def _full_range(letters: str, space: int, quantization: int) -> bool:
    """V4L2's own rule (V4L2_MAP_QUANTIZATION_DEFAULT), but a grey sensor that does not say has 0…255."""
    if quantization in (FULL_RANGE, LIMITED_RANGE):
        return quantization == FULL_RANGE
    return space == COLORSPACE_JPEG or letters == "GREY" or letters in ("RGB3", "BGR3")


def set_rate(fd: int, fps: float) -> None:
    """VIDIOC_S_PARM; drivers that cannot are left as they are."""
    raw = bytearray(STREAMPARM.pack(CAPTURE, 0, 0, 1000, round(1000 * fps)))
    try:
        fcntl.ioctl(fd, S_PARM, raw)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTTY):
            raise


def request_buffers(fd: int, count: int) -> list[tuple[int, int]]:
    """VIDIOC_REQBUFS and QUERYBUF: (offset, length) to map for each buffer."""
    raw = bytearray(REQBUFS.pack(count, CAPTURE, MMAP, 0, 0))
    fcntl.ioctl(fd, REQUEST, raw)
    places = []
    for index in range(REQBUFS.unpack(raw)[0]):
        buffer = bytearray(_buffer(index))
        fcntl.ioctl(fd, QUERYBUF, buffer)
        fields = BUFFER.unpack(buffer)
        places.append((fields[9], fields[11]))
    return places


def queue(fd: int, index: int) -> None:
    """VIDIOC_QBUF: the driver may fill this buffer."""
    fcntl.ioctl(fd, QBUF, bytearray(_buffer(index)))


def dequeue(fd: int) -> Filled:
    """VIDIOC_DQBUF of a descriptor opened with O_NONBLOCK. Raises BlockingIOError where none is ready."""
    raw = bytearray(_buffer(0))
    fcntl.ioctl(fd, DQBUF, raw)
    index, _type, used, flags, _field, seconds, micros, sequence = BUFFER.unpack(raw)[:8]
    monotonic = flags & TIMESTAMP_MASK == TIMESTAMP_MONOTONIC
    stamp = seconds * 10**9 + micros * 1000 if monotonic else 0
    return Filled(index, used, bool(flags & BUFFER_ERROR), stamp, sequence)


def stream(fd: int, on: bool) -> None:
    """VIDIOC_STREAMON or STREAMOFF."""
    fcntl.ioctl(fd, STREAMON if on else STREAMOFF, INT.pack(CAPTURE))


def controls(fd: int) -> list[Control]:
    """What can be set, of the kinds that take one number."""
    found: list[Control] = []
    last = 0
    while True:
        raw = bytearray(QUERYCTRL.pack(last | NEXT_CONTROL, 0, b"", 0, 0, 0, 0, 0))
        try:
            fcntl.ioctl(fd, QUERY_CONTROL, raw)
        except OSError:
            return found
        last, kind, name, least, most, _step, default, flags = QUERYCTRL.unpack(raw)
        if kind in CONTROL_NUMBERS and not flags & CONTROL_UNUSABLE:
            found.append(Control(last, control_name(_text(name)), least, most, default))


def set_control(fd: int, control: Control, value: int) -> None:
    """VIDIOC_S_CTRL. Raises OSError where the driver refuses."""
    fcntl.ioctl(fd, S_CTRL, bytearray(CONTROL.pack(control.id, value)))


def control_name(text: str) -> str:
    """``Focus, Automatic Continuous`` → ``focus_automatic_continuous``, as v4l2-ctl does it."""
    words = "".join(c.lower() if c.isalnum() else " " for c in text).split()
    return "_".join(words)


def fourcc(code: int) -> str:
    """The four letters of a pixel format."""
    return code.to_bytes(4, "little").decode("latin-1")


def code_of(letters: str) -> int:
    """Inverse of ``fourcc``."""
    return int.from_bytes(letters.encode("latin-1"), "little")


def _each(fd: int, request: int, ask: Callable[[int], bytes]) -> Iterator[bytearray]:
    """Answers to an enumeration until the driver says that there are no more."""
    for index in range(256):
        raw = bytearray(ask(index))
        try:
            fcntl.ioctl(fd, request, raw)
        except OSError:
            return
        yield raw


def _sizes(fd: int, code: int, wish: tuple[int, int] | None) -> Iterator[tuple[int, int]]:
    for raw in _each(fd, ENUM_FRAMESIZES, lambda i: FRMSIZE.pack(i, code, 0, b"")):
        _, _, kind, union = FRMSIZE.unpack(raw)
        if kind == DISCRETE:
            yield struct.unpack_from("II", union)
        else:
            least_w, most_w, _, least_h, most_h, _ = struct.unpack("IIIIII", union)
            yield from ((least_w, least_h), (most_w, most_h))
            if wish is not None and least_w <= wish[0] <= most_w and least_h <= wish[1] <= most_h:
                yield wish
            return


def _rate(fd: int, code: int, width: int, height: int) -> float:
    """The fastest rate of a mode, frames a second."""
    rates = [0.0]
    for raw in _each(fd, ENUM_FRAMEINTERVALS, lambda i: FRMIVAL.pack(i, code, width, height, 0, b"")):
        numerator, denominator = struct.unpack_from("II", FRMIVAL.unpack(raw)[5])
        if numerator:
            rates.append(denominator / numerator)
    return max(rates)


def _buffer(index: int) -> bytes:
    return BUFFER.pack(index, CAPTURE, 0, 0, 0, 0, 0, 0, MMAP, 0, 0, 0, 0, 0)


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("utf-8", "replace").strip()
