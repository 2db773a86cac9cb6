"""The ffmpeg program of a board: whether it can decode video with Rockchip's MPP, the video decoder of the chip.

`rkface doctor` sends this file to boards: standard library only, syntax of Python 3.8.
"""

from __future__ import annotations

import re

# Debian's and Ubuntu's ffmpeg cannot use MPP. That of Jellyfin's packages can, and is not in the PATH.
PROGRAMS = ("ffmpeg", "/usr/lib/jellyfin-ffmpeg/ffmpeg")
MPP_NODES = ("/dev/mpp_service", "/dev/dma_heap/system")  # the second one: not with every kernel
GET_FFMPEG = "install an ffmpeg with rkmpp: jellyfin-ffmpeg7 from https://repo.jellyfin.org, or that of the board maker"
DECODERS = {"h264": "h264_rkmpp", "h265": "hevc_rkmpp"}


def find_mpp_codecs(decoders: str, hwaccels: str) -> tuple[str, ...]:
    """Return which of the codecs in ``DECODERS`` an ffmpeg decodes with MPP, from its outputs for -decoders and
    -hwaccels.

    These are the builds of ffmpeg-rockchip, which have the hardware acceleration "rkmpp": it brings pictures back to
    the processor's memory. The older rkmpp decoders of FFmpeg itself deliver only handles of pictures.
    """
    if "rkmpp" not in hwaccels.split():
        return ()
    listed = re.findall(r"^ V[A-Z.]{5} (\w+)", decoders, re.MULTILINE)
    return tuple(codec for codec, name in DECODERS.items() if name in listed)
