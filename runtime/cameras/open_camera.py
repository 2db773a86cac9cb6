"""Opens the source that a user names: a camera, a network stream, a recording, a folder of photos or a pipe."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..core.addresses import mask_address
from ..core.errors import InputError
from ..core.text import in_a_line, readable
from ..core.turns import TURNS, Turn
from .camera import RETRIES, Camera
from .hardware_decoder import check_decoder
from .source_names import FORMS, check_network_address, find_device, has_gstreamer, hint_for
from .sources import JpegPipe, NetworkStream, PhotoFolder, VideoFile
from .v4l2_device import CaptureFormat, V4l2Device


def open_camera(
    source: str | Path,
    *,
    name: str | None = None,
    capture_format: CaptureFormat | None = None,
    loop: bool = False,
    realtime: bool = False,
    decoder: str | None = None,
    retries: Sequence[float] = RETRIES,
    rotate: Turn = 0,
    near: bool = False,
) -> Camera:
    """Open a camera, a network stream, a recording, a folder of photos or a pipe.

    A device or address that does not answer yet is not an error: the camera keeps trying.

    Args:
        source: A V4L2 index or path ("0", "/dev/video0"), a name from /dev/v4l/by-id, an rtsp or http address, a video
            file, a folder of photos, a GStreamer pipeline that ends in an appsink, or "-" for JPEG pictures back to
            back on stdin.
        name: The ``source`` of the frames; the default is ``source`` without passwords.
        capture_format: The format to request from a V4L2 camera. Its ``rate`` and ``hold`` also apply to folders.
        loop: Play a video or folder again after its end.
        realtime: Play a video or folder at its own speed. Without it, ``read`` never waits.
        decoder: What decodes an RTSP camera. None: the chip, if this machine has an ffmpeg that can use Rockchip's MPP
            for its codec, else the processor. "software": the processor. "h264" or "h265": the chip, for this codec.
        retries: Seconds before each attempt to open a lost camera again; the last one is repeated.
        rotate: Degrees, clockwise, by which frames are turned, for a camera that is not mounted upright: 0, 90, 180 or
            270. A video that says which way up it is, is turned without this.
        near: Faces may fill the picture. ``watch_camera`` and the scheduler then look a second time, with a margin
            around the frame, if they find no face or the largest one touches the border.

    Returns:
        A camera, to be used as a context manager.

    Raises:
        InputError: ``source`` has none of these forms, a file cannot be read, a folder has no photos, or ``source``
            needs GStreamer and this OpenCV was built without it; ``decoder`` is not possible for ``source`` or on this
            machine; or ``rotate`` is another number.

    Example:
        ```python
        from rkface import open_camera

        with open_camera("clip.mp4") as camera:
            for frame in camera:
                print(frame.number, frame.image.shape)
        ```
    """
    source = str(source)
    capture_format = capture_format or CaptureFormat()
    shown = in_a_line(mask_address(source))
    if rotate not in TURNS:
        raise InputError(f"rotate is {rotate!r}: a camera can be turned by 0, 90, 180 or 270 degrees")
    live = partial(Camera, name=shown if name is None else name, retries=retries, rotate=rotate, near=near)
    played = partial(live, live=False, recording=not loop, loop=loop, realtime=realtime)
    if source == "-":
        stdin = sys.stdin.fileno()
        return live("stdin", lambda camera: JpegPipe(stdin, lambda: camera.wanted), live=False)
    network = re.match(r"(?i)(rtsps?|https?)://", source) is not None
    if network:
        check_network_address(source)
    check_decoder(source, decoder)
    if re.match(r"(?i)rtsps?://", source):
        from .rtsp import RtspCamera

        rtsp = RtspCamera(source, shown, decoder)
        return live(shown, lambda camera: rtsp.open(lambda: camera.wanted))
    if network or " ! " in source:
        if not network and not has_gstreamer():
            raise InputError(
                f"{shown}: this OpenCV was built without GStreamer, like every OpenCV from PyPI: install your "
                "distribution's python3-opencv, or use an rtsp:// address"
            )
        return live(shown, lambda camera: NetworkStream(source, shown, gstreamer=not network))
    if device := find_device(source):
        return live(shown, lambda camera: V4l2Device(device, capture_format))
    path = Path(source)
    if source and path.is_dir():
        PhotoFolder(path, capture_format.rate, capture_format.hold)  # raises now if there are no photos
        return played(shown, lambda camera: PhotoFolder(path, capture_format.rate, capture_format.hold))
    if path.is_file():
        if readable(source) != source:  # OpenCV would abort the process
            raise InputError(f"{shown!r}: this file name is not in UTF-8: rename the file")
        VideoFile(path).close()  # raises now if it cannot be read
        return played(shown, lambda camera: VideoFile(path))
    raise InputError(f"{shown!r} is not a camera, and no such file or folder exists: give {FORMS}{hint_for(source)}")
