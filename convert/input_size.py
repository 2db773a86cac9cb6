"""The size of the detector's input, computed from the smallest face that must be found."""

from __future__ import annotations

from math import ceil

from rkface.runtime.core.errors import InputError
from rkface.runtime.vision.detectors import SIZE_STEP, Family

SMALLEST_INPUT = 320  # the longer side of the smallest input that was measured


def choose_input_size(family: Family, min_face: int, camera: tuple[int, int]) -> tuple[int, int]:
    """The smallest detector input in which a face of ``min_face`` pixels of the camera's frame is as large as the
    smallest faces of which ``family`` finds nearly all (docs/detector-size.md).

    ``camera`` and the result are (width, height); the result has about the camera's aspect, in multiples of 32. A
    face's size is the square root of its box's area. Raises InputError if ``min_face`` is smaller than that, or if it
    was not measured for ``family``.
    """
    smallest = family.smallest_face
    if smallest is None:
        raise InputError(
            f"--min-face is not measured for detectors of the family {family.name}: use --size, as 640x384"
        )
    if min_face < smallest:
        raise InputError(
            f"--min-face {min_face}: {family.name} finds faces of about {smallest} px or more, and a larger input adds "
            "no detail that the camera does not have: use a camera with more pixels, or a longer lens"
        )
    scale = max(smallest / min_face, SMALLEST_INPUT / max(camera))
    width, height = (ceil(round(side * min(scale, 1), 6) / SIZE_STEP) * SIZE_STEP for side in camera)
    return width, height


def explain_input_size(min_face: int, camera: tuple[int, int], size: tuple[int, int]) -> str:
    """One line for people about what ``choose_input_size`` chose."""
    scale = min(side / whole for side, whole in zip(size, camera, strict=True))
    share = size[0] * size[1] / 640**2
    return (
        f"detector input {size[0]}x{size[1]}: a face of {min_face} px in {camera[0]}x{camera[1]} has "
        f"{min_face * min(scale, 1):.0f} px in it; {share:.0%} of the multiplications of 640x640"
    )
