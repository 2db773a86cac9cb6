"""RTSP cameras: opens one with the decoder that suits it, the chip's or the processor's, and remembers which."""

from __future__ import annotations

from collections.abc import Callable
from logging import getLogger

from ..core.errors import WorkError
from .ffmpeg_stream import FfmpegStream, find_codec
from .hardware_decoder import HardwareDecoder, find_hardware_decoder, require_hardware
from .sources import NetworkStream
from .stream import Stream

SOFTWARE = "software"  # the setting that forbids hardware decoding
ATTEMPTS = 2  # to decode in hardware what the camera is known to send, before the processor decodes it
CODECS = {"h264": "h264", "hevc": "h265"}  # ffmpeg's names, and ours

log = getLogger("rkface.camera")


class RtspCamera:
    """Opens an RTSP camera again and again. ``open`` is for one thread.

    Without a ``setting``, hardware is used if it decodes what the camera sends, and software if it does not, or if it
    fails twice although the camera answers. "h264" and "h265" allow nothing but hardware.

    Raises InputError if ``setting`` requires hardware that this machine does not have.
    """

    def __init__(self, address: str, shown: str, setting: str | None) -> None:
        """``shown``: the address without passwords."""
        self._address, self._shown = address, shown
        self._required = setting if setting in CODECS.values() else None
        if setting == SOFTWARE:
            self._hardware = HardwareDecoder(problem=f'decoder = "{SOFTWARE}"')
        else:
            self._hardware = require_hardware(self._required) if self._required else find_hardware_decoder()
        self._codec = self._required or ""  # that hardware decodes, of the last connection
        self._failures = 0

    def open(self, wanted: Callable[[], bool]) -> Stream:
        """Open the camera; ``wanted`` is that of ``FfmpegStream``. Raises WorkError if it does not answer."""
        asked = not self._codec
        codec = self._codec or self._find_codec()
        if not codec:
            stream = NetworkStream(self._address, self._shown)
            if self._failures >= ATTEMPTS:
                stream.decoder = f"{SOFTWARE}, because hardware decoding fails"
            return stream
        try:
            hardware = FfmpegStream(self._hardware.program, self._address, codec, self._shown, wanted)
        except WorkError as error:
            self._codec = self._required or ""
            if asked:  # the camera answered just now, so hardware is the likely cause
                self._note_failure(error)
            raise
        self._codec, self._failures = codec, 0
        return hardware

    def _find_codec(self) -> str:
        """Return the codec that the camera sends, if hardware decodes it; else \"\"."""
        if not self._hardware.codecs:
            return ""
        codec = CODECS.get(find_codec(self._hardware.program, self._address), "")
        return codec if codec in self._hardware.codecs else ""

    def _note_failure(self, error: WorkError) -> None:
        self._failures += 1
        if self._failures >= ATTEMPTS:
            log.warning("hardware decoding fails (%s): from now on, the processor decodes this camera", error)
            self._hardware = HardwareDecoder(problem="hardware decoding failed")
