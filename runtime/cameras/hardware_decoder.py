"""Which decoder an RTSP camera gets: the chip's, through an ffmpeg with rkmpp, or the processor's."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..core.addresses import mask_address
from ..core.errors import InputError
from ..core.ffmpeg import DECODERS, GET_FFMPEG, MPP_NODES, PROGRAMS, find_mpp_codecs

ANSWER_SECONDS = 10.0  # for a program that lists its decoders


@dataclass(frozen=True)
class HardwareDecoder:
    """What decodes video in hardware on this machine.

    program  path of an ffmpeg; "" if nothing does
    codecs   "h264", "h265": those that it decodes in hardware
    problem  why nothing does, and what helps; "" if something does
    """

    program: str = ""
    codecs: tuple[str, ...] = ()
    problem: str = ""


@cache
def find_hardware_decoder() -> HardwareDecoder:
    """Find an ffmpeg that decodes with Rockchip's MPP, and whether this process may use MPP. It is looked for once."""
    nodes = [node for node in MPP_NODES if Path(node).exists()]
    if MPP_NODES[0] not in nodes:
        return HardwareDecoder(problem=f"there is no {MPP_NODES[0]}, which the vendor's kernel for Rockchip chips has")
    closed = [node for node in nodes if not os.access(node, os.R_OK | os.W_OK)]
    if closed:
        return HardwareDecoder(problem=f"no permission to open {closed[0]}: `rkface doctor` prints what to do")
    import shutil  # not at the start: few boards come this far

    for program in filter(None, map(shutil.which, PROGRAMS)):
        if codecs := find_mpp_codecs(_list(program, "-decoders"), _list(program, "-hwaccels")):
            return HardwareDecoder(program, codecs)
    return HardwareDecoder(problem=f"no ffmpeg here can use the chip's video decoder: {GET_FFMPEG}")


def check_decoder(address: str, decoder: str | None) -> None:
    """Raise InputError if ``decoder``, a setting of a camera, is not possible, or not for the source ``address``."""
    if decoder not in (None, "", "software", *DECODERS):
        raise InputError(f"decoder {decoder!r} is not possible: use software, h264 or h265, or remove it")
    if decoder and not re.match(r"(?i)rtsps?://", address):
        raise InputError(
            f"decoder {decoder!r} is for addresses that begin with rtsp://, not for {mask_address(address)}: remove it"
        )


def require_hardware(codec: str) -> HardwareDecoder:
    """Return what decodes ``codec`` in hardware. Raises InputError if nothing on this machine does."""
    found = find_hardware_decoder()
    if codec not in found.codecs:
        why = found.problem or f"{found.program} decodes only {', '.join(found.codecs)} in hardware: {GET_FFMPEG}"
        raise InputError(
            f"decoder {codec!r} needs hardware decoding: {why}. Leave decoder out, and rkface decodes on the processor "
            "if it must"
        )
    return found


def _list(program: str, what: str) -> str:
    import subprocess

    try:
        return subprocess.run(
            [program, "-hide_banner", what],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=ANSWER_SECONDS,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
