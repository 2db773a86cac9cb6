"""The detector's input by the smallest face that has to be found, instead of by habit."""

from __future__ import annotations

from math import ceil

from rkface.runtime.core.errors import InputError
from rkface.runtime.vision.detect import STRIDES

# Pixels of a face in the detector's input from which on SCRFD-2.5G and 500M keep 99 % of what a larger input finds, and
# every clear portrait: `make bench-less`, docs/detector-size.md.
SMALLEST_FACE = 16
SMALLEST_INPUT = 320  # its longer side: nothing smaller was measured


def input_for(min_face: int, camera: tuple[int, int]) -> tuple[int, int]:
    """The smallest detector input (width, height), in multiples of 32 and of about the camera's aspect, in which a face
    of ``min_face`` pixels of a ``camera`` frame has SMALLEST_FACE pixels. A face's size is the root of its box's area.

    InputError where the camera itself does not give it so many.
    """
    if min_face < SMALLEST_FACE:
        raise InputError(
            f"--min-face {min_face}: SCRFD finds faces from about {SMALLEST_FACE} px on, and no input adds detail that "
            "the camera has not: take a camera with more pixels or a longer lens"
        )
    scale = max(SMALLEST_FACE / min_face, SMALLEST_INPUT / max(camera))
    width, height = (ceil(round(side * min(scale, 1), 6) / STRIDES[-1]) * STRIDES[-1] for side in camera)
    return width, height


def explain(min_face: int, camera: tuple[int, int], size: tuple[int, int]) -> str:
    """What ``input_for`` chose, for people."""
    scale = min(side / whole for side, whole in zip(size, camera, strict=True))
    share = size[0] * size[1] / 640**2
    return (
        f"detector input {size[0]}x{size[1]}: a face of {min_face} px in {camera[0]}x{camera[1]} has "
        f"{min_face * min(scale, 1):.0f} there; {share:.0%} of the multiplications of 640x640"
    )
