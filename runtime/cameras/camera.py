"""Cameras: frames from V4L2 devices, network streams, videos, folders and pipes. A lost camera is opened again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from logging import getLogger
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.errors import RkfaceError, WorkError
from ..core.turns import Turn
from ..inference.frames import Frame
from ..vision.photo import turn_image
from .stream import ReducedPicture, ReducingStream, Stream

# Seconds before each attempt to open a lost camera again; the last one is repeated. A USB camera that reset itself is
# back within one second, a network camera that reboots within a minute, and then ten seconds more do not matter.
RETRIES = (0.5, 1.0, 2.0, 5.0, 10.0)
UNREADABLE_LIMIT = 30  # pictures in a row that cannot be decoded, after which a live camera is opened again
BLACK_ROWS = 16  # rows that are looked at to tell whether a picture is black
BLACK_LEVEL = 8  # of 255: in a black picture, no sampled pixel is brighter

log = getLogger("rkface.camera")


@dataclass(frozen=True)
class CameraState:
    """The state of a camera. Counts start when the ``Camera`` is created.

    source      what ``open_camera`` was given, without passwords
    connected   whether frames arrive now
    size        width and height of the last frame in pixels; (0, 0) before the first frame
    format      the format that the source reports (four letters), "" if it reports none
    rate        the frames per second that the source reports, 0 if it reports none
    decoder     how a network camera's video is decoded: "hardware (h264_rkmpp)" or "software", or "software, because …"
    frames      frames that arrived
    unreadable  pictures that could not be decoded
    black       black frames in a row that were decoded, up to the last one: many of them mean a covered lens
    reconnects  attempts to open the source again
    error       why no frames arrive, "" while they arrive
    """

    source: str
    connected: bool = False
    size: tuple[int, int] = (0, 0)
    format: str = ""
    rate: float = 0.0
    decoder: str = ""
    frames: int = 0
    unreadable: int = 0
    black: int = 0
    reconnects: int = 0
    error: str = ""


class Camera:
    """Frames of one source; ``open_camera`` makes one. A context manager, and an iterator over its frames.

    Only one thread may read. All other methods may be called from any thread.

    Args:
        source: What logs and ``state`` call the source, without passwords.
        open_stream: Opens the source. It is called again after the source was lost.
        name: The ``source`` of the frames; the default is ``source``.
        live: A source that ends was lost. It is opened again after the delays in ``retries``, without limit.
        recording: Every frame counts. Callers that process frames more slowly than they arrive must skip none.
        loop: A source that ends starts again from its first frame.
        realtime: ``read`` returns each frame at the time when a camera would deliver it.
        retries: Seconds before each attempt to open a lost source again; the last one is repeated.
        rotate: Degrees, clockwise, by which frames are turned: 0, 90, 180 or 270.
        near: Sets ``near`` of the frames.
    """

    def __init__(
        self,
        source: str,
        open_stream: Callable[[Camera], Stream],
        *,
        name: str | None = None,
        live: bool = True,
        recording: bool = False,
        loop: bool = False,
        realtime: bool = False,
        retries: Sequence[float] = RETRIES,
        rotate: Turn = 0,
        near: bool = False,
    ) -> None:
        self.name = source if name is None else name
        self.recording = recording
        self._open_stream, self._live, self._loop, self._realtime = open_stream, live, loop, realtime
        self._retries = retries
        self._rotate, self._near = rotate, near
        self._failures = 0  # attempts in a row
        self._undecoded = 0  # pictures in a row
        self._announced = False  # whether the log has the size of this connection
        self._stream: Stream | None = None
        self._state = CameraState(source)
        self._closed, self._on = threading.Event(), True
        self._control = threading.Condition()  # notified when one of the two changes
        self._reading = threading.Lock()

    @property
    def live(self) -> bool:
        """Whether the source is a camera, and not a recording, a folder or a pipe."""
        return self._live

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed.is_set()

    @property
    def on(self) -> bool:
        """Whether the camera is switched on (``switch``)."""
        return self._on

    @property
    def wanted(self) -> bool:
        """Whether pictures are wanted now: the camera is on, and not closed."""
        return self._on and not self.closed

    def switch(self, on: bool) -> None:
        """Switch the camera on or off. While it is off, its device or connection is released, and ``read`` waits.

        Returns immediately. The thread that reads releases the device after the picture for which it waits, at the
        latest after the timeout of a device that does not answer (10 seconds). A video or a folder starts again from
        its beginning.
        """
        with self._control:
            self._on = on
            self._control.notify_all()

    def read(
        self, wanted: Callable[[float], bool] | None = None, least: Callable[[], int] | None = None
    ) -> Frame | None:
        """Wait for the next frame and return it.

        Args:
            wanted: Called with the time of each frame. Those for which it returns False are skipped, before the work of
                decoding and turning them.
            least: Returns how many pixels on the longer side of the picture are enough. The frame may then have a
                smaller image, and ``Frame.full``. 0, the default, is the full size.

        Returns:
            The frame, with an H×W×3 uint8 BGR image. None after the last frame of a file, folder or pipe, and after
            ``close``. While the camera is switched off, no frame.

        Raises:
            InputError: A file cannot be read. A live camera never raises: ``state`` and the log contain its problem.
        """
        with self._reading:
            while not self.closed:
                if not self._on:
                    self._rest()
                    continue
                try:
                    stream = self._stream or self._open()
                    moment = stream.grab()
                    if self._realtime:
                        self._pause(moment - time.monotonic())
                    if not self._on or (wanted is not None and not wanted(moment)):
                        self._count_frame()
                        continue
                    reduced = self._reduce(stream, least() if least else 0)
                    image = reduced.image if reduced else stream.decode()
                    if image is None:
                        self._count_unreadable()
                        continue
                except EOFError:
                    self._drop_stream()
                    if self._live:
                        self._wait_after_loss(f"{self._state.source}: the stream ended")
                    elif self._on and not (self._loop and self._state.frames):
                        return None
                except (RkfaceError, OSError, cv2.error) as error:
                    self._drop_stream()
                    if self._on and not self._live:
                        raise
                    self._wait_after_loss(str(error))
                else:
                    number = self._count_frame()
                    self._note_image(stream, image, reduced.size if reduced else image.shape[1::-1])
                    full = partial(self._decode_full, reduced) if reduced else None
                    return Frame(self._upright(image), number, moment, self.name, self._near, full)
            return None

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.read, None)

    def state(self) -> CameraState:
        """Return the current state."""
        return self._state

    def close(self) -> None:
        """Make a waiting ``read`` return, and release the device. A second call does nothing.

        A device or address that does not answer can delay this by up to 10 seconds, until its own timeout.
        """
        with self._control:
            self._closed.set()
            self._control.notify_all()
        with self._reading:
            self._drop_stream()

    def __enter__(self) -> Camera:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _pause(self, seconds: float) -> None:
        """Wait for so many seconds, or until no picture is wanted."""
        with self._control:
            self._control.wait_for(lambda: not self.wanted, max(0.0, seconds))

    def _rest(self) -> None:
        """Release the device, and wait until the camera is switched on or closed."""
        self._drop_stream()
        self._failures, self._announced = 0, False
        self._state = replace(self._state, connected=False, error="")
        log.info("%s: switched off", self._state.source)
        with self._control:
            self._control.wait_for(lambda: self._on or self.closed)

    def _open(self) -> Stream:
        self._stream = stream = self._open_stream(self)
        return stream

    def _count_frame(self) -> int:
        """Count a frame that arrived, and return its number."""
        number = self._state.frames
        self._state = replace(self._state, connected=True, frames=number + 1, error="")
        return number

    def _reduce(self, stream: Stream, least: int) -> ReducedPicture | None:
        """The grabbed picture, smaller, if ``least`` pixels are enough and ``stream`` can do that; else None."""
        return stream.decode_reduced(least) if least and isinstance(stream, ReducingStream) else None

    def _decode_full(self, reduced: ReducedPicture) -> NDArray[np.uint8]:
        return self._upright(reduced.full())

    def _upright(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return turn_image(image, self._rotate) if self._rotate else image

    def _note_image(self, stream: Stream, image: NDArray[np.uint8], stored: tuple[int, ...]) -> None:
        """Note what the pictures are like. ``stored``: width and height in full size, before the picture is turned."""
        old = self._state
        width, height = stored
        size = (height, width) if self._rotate % 180 else (width, height)
        if not self._announced or (self._live and size != old.size):  # photos in a folder may differ in size
            decoded = f", decoded in {stream.decoder}" if stream.decoder else ""
            form = stream.format or "frames"
            log.info("%s: %d×%d %s at %g frames per second%s", old.source, *size, form, stream.rate, decoded)
        self._announced = True
        black = old.black + 1 if is_black(image) else 0
        self._state = replace(
            old, size=size, format=stream.format, rate=stream.rate, decoder=stream.decoder, black=black
        )
        self._failures = self._undecoded = 0

    def _count_unreadable(self) -> None:
        self._undecoded += 1
        self._state = replace(self._state, unreadable=self._state.unreadable + 1)
        if self._live and self._undecoded >= UNREADABLE_LIMIT:
            self._undecoded = 0
            raise WorkError(
                f"{self._state.source}: {UNREADABLE_LIMIT} pictures in a row cannot be decoded: check the cable or the "
                "network"
            )

    def _wait_after_loss(self, error: str) -> None:
        if not self._on:
            return
        delay = self._retries[min(self._failures, len(self._retries) - 1)]
        if self._state.error != error:  # logged once, not every ten seconds for a whole night
            log.warning("%s; trying again", error)
        self._failures += 1
        self._announced = False
        self._state = replace(self._state, connected=False, error=error, reconnects=self._state.reconnects + 1)
        self._pause(delay)

    def _drop_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()


def is_black(image: NDArray[np.uint8]) -> bool:
    """Return whether an image (H×W×3 uint8) is black, from some of its rows. Pixels side by side are read together: a
    grid of single ones would take twice as long."""
    return bool(image[:: max(1, len(image) // BLACK_ROWS)].max() <= BLACK_LEVEL)
