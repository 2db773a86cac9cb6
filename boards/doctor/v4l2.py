"""The cameras of a board and their formats, read from V4L2 with four ioctls.

v4l2-ctl is missing on most images, and its text would have to be parsed. Structures and numbers are those of Linux,
include/uapi/linux/videodev2.h. This file is sent to boards (remote.py): standard library only, syntax of Python 3.8.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Ioctl = Callable[[int, int, bytearray], object]  # fcntl.ioctl: fills the buffer; OSError at the end of a list

QUERYCAP = 0x80685600  # _IOR('V', 0, struct v4l2_capability), 104 bytes
ENUM_FMT = 0xC0405602  # _IOWR('V', 2, struct v4l2_fmtdesc), 64 bytes
ENUM_FRAMESIZES = 0xC02C564A  # _IOWR('V', 74, struct v4l2_frmsizeenum), 44 bytes
ENUM_FRAMEINTERVALS = 0xC034564B  # _IOWR('V', 75, struct v4l2_frmivalenum), 52 bytes

CAPTURE, CAPTURE_MPLANE, M2M, M2M_MPLANE = 0x1, 0x1000, 0x8000, 0x4000  # V4L2_CAP_VIDEO_…
DEVICE_CAPS = 0x80000000
BUFFER_CAPTURE, BUFFER_CAPTURE_MPLANE = 1, 9  # V4L2_BUF_TYPE_VIDEO_CAPTURE…
DISCRETE = 1
MAX_ENTRIES = 64  # of any list: a driver that never ends its list must not hang doctor

# Formats that GStreamer or OpenCV can decode. A node with none of them delivers raw sensor data, or is a codec.
FRAME_FORMATS = ("MJPG", "JPEG", "H264", "HEVC", "NV12", "NV21", "NV16", "YUYV", "UYVY", "YU12", "RGB3", "BGR3")


@dataclass(frozen=True)
class V4l2Format:
    """The largest frame of a camera in one format.

    fourcc         V4L2's four-character code ("MJPG")
    width, height  in pixels
    rate           frames per second; 0 if the driver does not report it
    """

    fourcc: str
    width: int
    height: int
    rate: float

    def __str__(self) -> str:
        return f"{self.fourcc} {self.width}×{self.height}" + (f"@{self.rate:.0f}" if self.rate else "")


@dataclass(frozen=True)
class V4l2Camera:
    """A camera: its device node (/dev/video0), the name that the driver gives it, its formats, and the driver's name
    ("uvcvideo")."""

    node: str
    name: str
    formats: tuple[V4l2Format, ...]
    driver: str = ""


def read_cameras(nodes: tuple[str, ...]) -> tuple[V4l2Camera, ...]:
    """The cameras among the /dev/video* ``nodes``. Nodes that cannot be opened, and codecs, are left out."""
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


def read_camera(node: str, descriptor: int, ioctl: Ioctl) -> V4l2Camera | None:
    """The camera behind ``node``, open as ``descriptor``; None if the node delivers no frames."""
    answer = bytearray(104)
    try:
        ioctl(descriptor, QUERYCAP, answer)
    except OSError:
        return None
    capabilities, device_capabilities = struct.unpack_from("=II", answer, 84)
    if capabilities & DEVICE_CAPS:
        capabilities = device_capabilities
    if not capabilities & (CAPTURE | CAPTURE_MPLANE) or capabilities & (M2M | M2M_MPLANE):
        return None
    buffer = BUFFER_CAPTURE_MPLANE if capabilities & CAPTURE_MPLANE else BUFFER_CAPTURE
    codes = [code for code in _fourccs(descriptor, ioctl, buffer) if code in FRAME_FORMATS]
    formats = [form for code in codes for form in _largest_format(descriptor, ioctl, code)]
    driver, name = (bytes(part).split(b"\0")[0].decode(errors="replace") for part in (answer[:16], answer[16:48]))
    return V4l2Camera(node, name, tuple(formats), driver) if formats else None


def _enumerate(descriptor: int, ioctl: Ioctl, request: int, size: int, head: bytes) -> Iterator[bytearray]:
    """The entries that an enumerating ioctl returns; its structure starts with an index, then ``head``."""
    for index in range(MAX_ENTRIES):
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


def _largest_format(descriptor: int, ioctl: Ioctl, fourcc: str) -> list[V4l2Format]:
    """The largest size of the format ``fourcc`` at its highest rate: a list of one, empty if it has no sizes."""
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
        numerator, denominator = struct.unpack_from(
            "=II", answer, 20
        )  # a stepwise list starts with the shortest interval
        rates.append(denominator / numerator if numerator else 0.0)
    return [V4l2Format(fourcc, width, height, max(rates, default=0.0))]
