"""A camera that is there: frames from V4L2, RTSP, files, folders or a pipe, whatever happens to the cable."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from logging import getLogger
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, RkfaceError, WorkError
from ..core.text import readable
from ..inference.frames import Frame
from .sources import CaptureFormat, Device, Folder, Network, Pipe, Stream, Video

# Seconds before each try to open a lost camera again; the last one is repeated. A USB camera that reset itself is back
# within one, a rebooting network camera within a minute, and ten seconds more do not matter then.
RETRIES = (0.5, 1.0, 2.0, 5.0, 10.0)
UNREADABLE = 30  # pictures in a row that cannot be decoded before a live camera is opened anew
DARK = 8  # of 255: no pixel that is looked at is brighter in a black picture
STABLE = Path("/dev/v4l/by-id")
FORMS = (
    "0 or /dev/video0 (V4L2), a name out of /dev/v4l/by-id, rtsp://… or http://…, a video file, a folder of photos, "
    "'… ! appsink' (GStreamer), or - (JPEG pictures back to back from stdin)"
)

log = getLogger("rkface.camera")


@dataclass(frozen=True)
class CameraState:
    """How a camera fares. Counts are since it was opened.

    source      as it was given, without passwords
    connected   whether frames come now
    size        width and height in pixels, as they came last; 0 before
    format      what it delivers (four letters), "" where it does not say
    rate        frames a second: what it promises, 0 where it does not say
    frames      that came
    unreadable  that came and could not be decoded
    black       in a row, up to the last one: a covered lens
    reconnects  how often it was tried to open it again
    error       why frames do not come, "" where they do
    """

    source: str
    connected: bool = False
    size: tuple[int, int] = (0, 0)
    format: str = ""
    rate: float = 0.0
    frames: int = 0
    unreadable: int = 0
    black: int = 0
    reconnects: int = 0
    error: str = ""


class Camera:
    """Frames of one source. A context manager; ``read`` is for one thread, the rest for any.

    ``live``: a source that ends was lost, and is opened again after ``retries``, for ever. ``loop``: one that ends
    begins again. ``realtime``: a frame is held back until its time has come, as a camera's would come then.
    """

    def __init__(
        self,
        source: str,
        open_stream: Callable[[Camera], Stream],
        *,
        name: str | None = None,
        live: bool = True,
        loop: bool = False,
        realtime: bool = False,
        retries: Sequence[float] = RETRIES,
    ) -> None:
        self.name = source if name is None else name
        self._open_stream, self._live, self._loop, self._realtime = open_stream, live, loop, realtime
        self._retries = retries
        self._failed = 0  # in a row
        self._bad = 0  # unreadable pictures in a row
        self._stream: Stream | None = None
        self._state = CameraState(source)
        self._closed = threading.Event()
        self._reading = threading.Lock()

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    @property
    def live(self) -> bool:
        """Whether frames come by themselves, as from a camera. False for a recording, which is read frame by frame."""
        return self._live

    def read(self) -> Frame | None:
        """The next frame, waited for. None at the end of what has one, and once the camera is closed.

        A live camera never ends, and raises nothing: what is wrong with it is in ``state()`` and in the log. A file
        that cannot be read raises InputError.
        """
        with self._reading:
            while not self.closed:
                try:
                    stream = self._stream or self._open()
                    image, moment = stream.read()
                    if image is None:
                        self._count_unreadable()
                        continue
                except EOFError:
                    self._drop()
                    if self._live:
                        self._lost(f"{self._state.source}: ended")
                    elif not (self._loop and self._state.frames):
                        return None
                except (RkfaceError, OSError, cv2.error) as error:
                    self._drop()
                    if not self._live:
                        raise
                    self._lost(str(error))
                else:
                    if self._realtime:
                        self._closed.wait(max(0.0, moment - time.monotonic()))
                    return self._frame(stream, image, moment)
            return None

    def state(self) -> CameraState:
        return self._state

    def close(self) -> None:
        """End a ``read`` that waits, and let go of the device. Again, it does nothing. A device or address that says
        nothing is waited for until it is given up: up to 10 seconds."""
        self._closed.set()
        with self._reading:
            self._drop()

    def __enter__(self) -> Camera:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> Stream:
        self._stream = stream = self._open_stream(self)
        return stream

    def _frame(self, stream: Stream, image: NDArray[np.uint8], moment: float) -> Frame:
        old = self._state
        size = (image.shape[1], image.shape[0])
        if not old.connected or (self._live and size != old.size):  # photos of a folder are of any size
            log.info("%s: %d×%d %s at %g a second", old.source, *size, stream.format or "frames", stream.rate)
        black = old.black + 1 if is_black(image) else 0
        self._state = replace(
            old,
            connected=True,
            size=size,
            format=stream.format,
            rate=stream.rate,
            frames=old.frames + 1,
            black=black,
            error="",
        )
        self._failed = self._bad = 0
        return Frame(image, old.frames, moment, self.name)

    def _count_unreadable(self) -> None:
        self._bad += 1
        self._state = replace(self._state, unreadable=self._state.unreadable + 1)
        if self._live and self._bad >= UNREADABLE:
            self._bad = 0
            raise WorkError(
                f"{self._state.source}: {UNREADABLE} pictures in a row cannot be decoded: is the cable good?"
            )

    def _lost(self, error: str) -> None:
        delay = self._retries[min(self._failed, len(self._retries) - 1)]
        if self._state.error != error:  # said once, not every ten seconds for a night
            log.warning("%s; trying again", error)
        self._failed += 1
        self._state = replace(self._state, connected=False, error=error, reconnects=self._state.reconnects + 1)
        self._closed.wait(delay)

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()


def open_camera(
    spec: str,
    *,
    name: str | None = None,
    wanted: CaptureFormat | None = None,
    loop: bool = False,
    realtime: bool = False,
    decoder: str | None = None,
    retries: Sequence[float] = RETRIES,
) -> Camera:
    """The camera that ``spec`` names; frames carry ``name`` (by default ``spec``, without passwords) as their source.

    ``spec``: a V4L2 index or path, a name out of /dev/v4l/by-id, an rtsp or http address, a video file, a folder of
    photos, a GStreamer pipeline that ends in an appsink, or "-" for JPEG pictures back to back on stdin.
    ``wanted`` is asked of a V4L2 camera; its rate is also a folder's, and ``hold`` a folder's alone. ``loop`` and
    ``realtime`` are for files and folders. ``decoder``: "h264" or "h265" has Rockchip's MPP decode that of an RTSP
    camera, through GStreamer.
    InputError for a ``spec`` that is none of these, a file that is missing, or GStreamer where OpenCV has none. A
    device or address that is not there is no error: it may come.
    """
    wanted = wanted or CaptureFormat()
    shown = without_password(spec)
    live = partial(Camera, name=shown if name is None else name, retries=retries)
    played = partial(live, live=False, loop=loop, realtime=realtime)
    if spec == "-":
        stdin = sys.stdin.fileno()
        return live("stdin", lambda camera: Pipe(stdin, lambda: not camera.closed), live=False)
    if re.match(r"(rtsps?|https?)://", spec) or " ! " in spec:
        pipeline = mpp_pipeline(spec, decoder) if decoder else spec
        gstreamer = " ! " in pipeline
        if gstreamer and not has_gstreamer():
            raise InputError(
                f"{shown}: this OpenCV was built without GStreamer (pip's is): use the distribution's python3-opencv, "
                "or an rtsp:// address without a decoder"
            )
        return live(shown, lambda camera: Network(pipeline, shown, gstreamer))
    if device := find_device(spec):
        return live(shown, lambda camera: Device(device, wanted))
    path = Path(spec)
    if spec and path.is_dir():
        Folder(path, wanted.rate, wanted.hold)  # an empty one is said now
        return played(shown, lambda camera: Folder(path, wanted.rate, wanted.hold))
    if path.is_file():
        if readable(spec) != spec:  # OpenCV ends the process
            raise InputError(f"{readable(shown)!r}: a name that is not in UTF-8: rename it")
        Video(path).close()
        return played(shown, lambda camera: Video(path))
    raise InputError(f"no camera {shown!r}: give {FORMS}")


def find_device(spec: str) -> Path | None:
    """The V4L2 node that ``spec`` means, there or not; None where it means something else."""
    if spec.isdecimal():
        return Path(f"/dev/video{spec}")
    if re.match(r"/dev/(video\d+$|v4l/)", spec):
        return Path(spec)
    stable = STABLE / spec
    return stable if spec and "/" not in spec and stable.is_symlink() else None


def mpp_pipeline(address: str, codec: str) -> str:
    """A GStreamer pipeline that has Rockchip's MPP (gstreamer-rockchip's mppvideodec) decode an RTSP camera. The newest
    frame wins, in BGR. InputError for another codec or address."""
    if codec not in ("h264", "h265") or not re.match(r"rtsps?://[^\s\"]+$", address):
        raise InputError(f"decoder {codec!r} for {without_password(address)}: MPP decodes h264 or h265 of rtsp:// here")
    return (
        f'rtspsrc location="{address}" latency=100 protocols=tcp ! rtp{codec}depay ! {codec}parse ! mppvideodec ! '
        "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
    )


def has_gstreamer() -> bool:
    """Whether this OpenCV was built with GStreamer."""
    return cv2.CAP_GSTREAMER in cv2.videoio_registry.getBackends()


def without_password(spec: str) -> str:
    """``spec`` for logs and pages: user and password of an address are left out."""
    spec = re.sub(r"(\w+://)[^\s\"]*@", r"\1", spec)  # up to the last @: rather too much than too little
    return re.sub(r"(?i)((?:password|passwd|pass|pwd|user(?:name)?)=)[^&\s\"/]*", r"\1…", spec)


def is_black(image: NDArray[np.uint8]) -> bool:
    """Whether an image (H×W×3) shows nothing, by a grid of some thousand pixels."""
    return bool(image[::24, ::24].max() <= DARK)
