"""The process that decodes photos for ``decoder.py``: a damaged photo that crashes a decoder ends only this process.

It runs this file without the rest of rkface: python -I -S decoder_worker.py SOCKET PARENT FOLDER… The folders contain
numpy and OpenCV. It ends when its parent does.
"""

from __future__ import annotations

import math
import os
import resource
import select
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any

REQUEST = struct.Struct("<4sIIIQ")  # format, width, height, bytes of folders and of the file, which follow
ANSWER = struct.Struct("<cIIQ")  # outcome, width, height, resident bytes before the photo; pixels follow
READY, DECODED, DAMAGED, NO_MEMORY = b"r", b"d", b"x", b"m"
NO_MEMORY_STATUS = 3  # of this process

# Memory for one photo: three bytes for each pixel, and the coefficients of a progressive JPEG without subsampling have
# six to eight more. libwebp and libheif need less than 16. Decoders work on blocks of up to 32 pixels.
BYTES_PER_PIXEL, BYTES_BESIDE, BLOCK = 16, 128 << 20, 32
# CPU time for one photo. A slow core of a board decodes some ten million pixels of a JPEG each second, a third of that
# if it is progressive, or a PNG, and a tenth of HEIC.
SECONDS_PER_MEGAPIXEL, SECONDS_PER_HEIC_MEGAPIXEL, SECONDS_BESIDE = 0.3, 1.5, 5
CHECK_PARENT = 5.0  # seconds without a request, after which this process checks that its parent is alive


def seconds_for(kind: str, width: int, height: int) -> int:
    """The CPU time, in seconds, that decoding a photo of this format and size may take."""
    rate = SECONDS_PER_HEIC_MEGAPIXEL if kind == "HEIC" else SECONDS_PER_MEGAPIXEL
    return math.ceil(SECONDS_BESIDE + rate * width * height / 1e6)


def serve(channel: socket.socket, parent: int) -> None:
    """Decode photos, until the parent ends or closes the socket."""
    import cv2

    cv2.setNumThreads(1)
    _limit_rights()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # libpng and libjpeg print what they find
    channel.sendall(ANSWER.pack(READY, 0, 0, _memory()[1]))
    while _wait_for_request(channel, parent):
        kind, width, height, names, length = REQUEST.unpack(_receive(channel, REQUEST.size))
        folders = _receive(channel, names).decode()
        size = _memory()[1]
        _limit_memory(width, height, length)
        _limit_time(seconds_for(kind.rstrip(b"\0").decode(), width, height))
        outcome, image = _decode(_receive(channel, length), folders, width * height)
        height, width = (0, 0) if image is None else image.shape[:2]
        channel.sendall(ANSWER.pack(outcome, width, height, size))
        if image is not None:
            channel.sendall(image.data.cast("B"))
        del image


def _wait_for_request(channel: socket.socket, parent: int) -> bool:
    """Whether a request comes, instead of the end of the parent."""
    while not select.select([channel], [], [], CHECK_PARENT)[0]:
        if os.getppid() != parent:
            return False
    return channel.recv(1, socket.MSG_PEEK) != b""


def _receive(channel: socket.socket, length: int) -> bytearray:
    data = bytearray(length)
    rest = memoryview(data)
    while rest:
        count = channel.recv_into(rest)
        if count == 0:
            sys.exit(1)
        rest = rest[count:]
    return data


def _decode(data: bytearray, folders: str, most_pixels: int) -> tuple[bytes, Any]:
    """The outcome, and the image (H×W×3 uint8 BGR) or None."""
    try:
        image = _decode_heif(data, folders, most_pixels) if folders else decode_opencv(data)
    except MemoryError:
        return NO_MEMORY, None
    except Exception as error:
        return NO_MEMORY if "nsufficient memory" in str(error) else DAMAGED, None
    return (DAMAGED if image is None else DECODED), image


def decode_opencv(data: bytes | bytearray, by: int = 1) -> Any:
    """The image in ``data``, H×W×3 uint8 BGR as stored; None if it is damaged. Raises cv2.error.

    ``by``: 2, 4 or 8 decodes a JPEG at that part of its size, which takes less time than to decode it and to shrink it.
    """
    import cv2
    import numpy as np

    colors = cv2.IMREAD_COLOR if by == 1 else getattr(cv2, f"IMREAD_REDUCED_COLOR_{by}")
    # The caller applies the orientation: which formats OpenCV rotates itself differs between its versions.
    return cv2.imdecode(np.frombuffer(data, np.uint8), colors | cv2.IMREAD_IGNORE_ORIENTATION)


def _decode_heif(data: bytearray, folders: str, most_pixels: int) -> Any:
    import numpy as np

    sys.path += [folder for folder in folders.split("\0") if folder not in sys.path]
    import pillow_heif

    pillow_heif.options.DECODE_THREADS = 1
    photo = pillow_heif.open_heif(bytes(data), convert_hdr_to_8bit=True, bgr_mode=True)
    if photo.size[0] * photo.size[1] > most_pixels:
        return None
    image = np.asarray(photo)
    return np.ascontiguousarray(image[..., :3] if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2))


def _memory() -> tuple[int, int]:
    """The address space and the resident memory of this process, in bytes."""
    size, resident = Path("/proc/self/statm").read_text().split()[:2]
    return int(size) * resource.getpagesize(), int(resident) * resource.getpagesize()


def _limit_rights() -> None:
    """Take away what decoding does not need: core dumps, and many files. libheif starts threads, so these stay."""
    _set_limit(resource.RLIMIT_CORE, 0, 0)
    _set_limit(resource.RLIMIT_NOFILE, 64, 64)


def _limit_memory(width: int, height: int, length: int) -> None:
    """Limit the memory for one photo. Beyond it, allocations fail."""
    pixels = (width + BLOCK) * (height + BLOCK)
    _set_limit(resource.RLIMIT_AS, _memory()[0] + pixels * BYTES_PER_PIXEL + 2 * length + BYTES_BESIDE)


def _limit_time(seconds: int) -> None:
    """Limit the CPU time for one photo. Beyond it, Linux ends this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _set_limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + seconds)


def _set_limit(what: int, most: int, hard: int = resource.RLIM_INFINITY) -> None:
    """Set a limit, but not above the one that this process was started with."""
    old = resource.getrlimit(what)[1]
    hard = old if hard == resource.RLIM_INFINITY else hard if old == resource.RLIM_INFINITY else min(hard, old)
    resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path += sys.argv[3:]
    try:
        serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
    except MemoryError:
        sys.exit(NO_MEMORY_STATUS)
