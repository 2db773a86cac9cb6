"""Which cameras there are and what each can deliver, asked of V4L2 directly: v4l2-ctl is missing on most images, and
four ioctls are less than parsing its text. Layouts and numbers: Linux' include/uapi/linux/videodev2.h."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Ioctl = Callable[[int, int, bytearray], object]  # fcntl.ioctl: fills the buffer; OSError where there is no more

QUERYCAP = 0x80685600  # _IOR('V', 0, struct v4l2_capability), 104 bytes
ENUM_FMT = 0xC0405602  # _IOWR('V', 2, struct v4l2_fmtdesc), 64 bytes
ENUM_FRAMESIZES = 0xC02C564A  # _IOWR('V', 74, struct v4l2_frmsizeenum), 44 bytes
ENUM_FRAMEINTERVALS = 0xC034564B  # _IOWR('V', 75, struct v4l2_frmivalenum), 52 bytes

CAPTURE, CAPTURE_MPLANE, M2M, M2M_MPLANE = 0x1, 0x1000, 0x8000, 0x4000  # V4L2_CAP_VIDEO_…
DEVICE_CAPS = 0x80000000
BUFFER_CAPTURE, BUFFER_CAPTURE_MPLANE = 1, 9  # V4L2_BUF_TYPE_VIDEO_CAPTURE…
DISCRETE = 1
MOST = 64  # entries read of any list: a driver that never says "no more" must not hang doctor

# Pictures that GStreamer or OpenCV decode. A node that offers none of them is a sensor's raw data or a codec.
PICTURES = ("MJPG", "JPEG", "H264", "HEVC", "NV12", "NV21", "NV16", "YUYV", "UYVY", "YU12", "RGB3", "BGR3")


@dataclass(frozen=True)
class Format:
    """The largest picture a camera offers in one format: four-character code, pixels, frames a second (0: not said)."""

    fourcc: str
    width: int
    height: int
    rate: float

    def __str__(self) -> str:
        return f"{self.fourcc} {self.width}×{self.height}" + (f"@{self.rate:.0f}" if self.rate else "")


@dataclass(frozen=True)
class Camera:
    node: str
    name: str
    formats: tuple[Format, ...]


def read_cameras(nodes: tuple[str, ...]) -> tuple[Camera, ...]:
    """The cameras among the /dev/video* ``nodes``; those that may not be opened, and codecs, are left out."""
    import fcntl

    found = []
    for node in nodes:
        try:
            descriptor = os.open(node, os.O_RDWR | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            camera = read_camera(node, descriptor, fcntl.ioctl)
        finally:
            os.close(descriptor)
        if camera:
            found.append(camera)
    return tuple(found)


def read_camera(node: str, descriptor: int, ioctl: Ioctl) -> Camera | None:
    """The camera behind an open node; None where it delivers no pictures."""
    answer = bytearray(104)
    try:
        ioctl(descriptor, QUERYCAP, answer)
    except OSError:
        return None
    capabilities, own = struct.unpack_from("=II", answer, 84)
    able = own if capabilities & DEVICE_CAPS else capabilities
    if not able & (CAPTURE | CAPTURE_MPLANE) or able & (M2M | M2M_MPLANE):
        return None
    buffer = BUFFER_CAPTURE_MPLANE if able & CAPTURE_MPLANE else BUFFER_CAPTURE
    codes = [code for code in _fourccs(descriptor, ioctl, buffer) if code in PICTURES]
    formats = [form for code in codes for form in _largest(descriptor, ioctl, code)]
    name = bytes(answer[16:48]).split(b"\0")[0].decode(errors="replace")
    return Camera(node, name, tuple(formats)) if formats else None


def _enumerate(descriptor: int, ioctl: Ioctl, request: int, size: int, head: bytes) -> Iterator[bytearray]:
    """The answers to an enumerating ioctl whose structure starts with an index and then ``head``."""
    for index in range(MOST):
        answer = bytearray(size)
        struct.pack_into("=I", answer, 0, index)
        answer[4 : 4 + len(head)] = head
        try:
            ioctl(descriptor, request, answer)
        except OSError:
            return
        yield answer


def _fourccs(descriptor: int, ioctl: Ioctl, buffer: int) -> list[str]:
    answers = _enumerate(descriptor, ioctl, ENUM_FMT, 64, struct.pack("=I", buffer))
    return [bytes(answer[44:48]).decode("ascii", errors="replace") for answer in answers]


def _largest(descriptor: int, ioctl: Ioctl, fourcc: str) -> list[Format]:
    """The largest size of a format at its best rate, in a list; empty where the driver names no size."""
    code = fourcc.encode("ascii")
    sizes = []
    for answer in _enumerate(descriptor, ioctl, ENUM_FRAMESIZES, 44, code):
        kind = struct.unpack_from("=I", answer, 8)[0]
        # Discrete: width, height. Stepwise and continuous: min width, max width, step, min height, max height, step.
        width, height = (
            struct.unpack_from("=II", answer, 12)
            if kind == DISCRETE
            else (
                struct.unpack_from("=I", answer, 16)[0],
                struct.unpack_from("=I", answer, 28)[0],
            )
        )
        sizes.append((width, height))
    if not sizes:
        return []
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    head = code + struct.pack("=II", width, height)
    rates = []
    for answer in _enumerate(descriptor, ioctl, ENUM_FRAMEINTERVALS, 52, head):
        numerator, denominator = struct.unpack_from("=II", answer, 20)  # stepwise starts with its shortest interval
        rates.append(denominator / numerator if numerator else 0.0)
    return [Format(fourcc, width, height, max(rates, default=0.0))]
