"""What goes into the scheduler and what comes out: frames and results."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.faces import Faces


@dataclass(frozen=True)
class Frame:
    """One image of a file or camera, as the scheduler takes it.

    The scheduler uses ``image``, ``near``, and ``source`` to treat all sources alike. It does not read the other
    attributes.

    Example:
        ```python
        from rkface import Frame, read_image

        frame = Frame(read_image("party.jpg"), number=0, source="party.jpg")
        ```

    Attributes:
        image: H×W×3 uint8, BGR. Do not write to it before its result is there.
        number: Position of the frame in its source.
        time: When the frame was captured, in seconds: of ``time.monotonic()`` unless the source has a better clock.
        source: Name of the camera or file.
        near: Whether faces may fill the picture: the scheduler uses ``Pipeline.near``.
        full: Decodes the image in full size, if ``image`` is a smaller version that is enough to see whether anybody
            is there; else None. If the scheduler finds a face, it searches the full image, and that is the frame of
            the result.
    """

    image: NDArray[np.uint8]
    number: int = 0
    time: float = field(default_factory=time.monotonic)
    source: str = ""
    near: bool = False
    full: Callable[[], NDArray[np.uint8]] | None = None


def check_frame(frame: Frame) -> Frame:
    """Return ``frame``. Raises InputError if it is not a Frame."""
    if not isinstance(frame, Frame):
        raise InputError(f"the scheduler takes Frame objects, not {type(frame).__name__}: write Frame(image)")
    return frame


@dataclass(frozen=True)
class Result:
    """What the scheduler found in one frame: either ``faces`` or ``error`` is None.

    Attributes:
        frame: The frame as it was submitted, or with its full image (see ``Frame.full``).
        faces: The faces in the frame, in pixels of its image. None if the work on this frame failed.
        error: The exception that the work on this frame raised, or None.
        dropped: Number of frames of the same source that newer frames replaced since the last result of that source.
        waited: Seconds from submission until work on the frame began.
        took: Seconds from then until the faces were found.
    """

    frame: Frame
    faces: Faces | None
    error: Exception | None
    dropped: int
    waited: float
    took: float


@dataclass
class Job:
    """A frame inside the scheduler. ``submitted`` is in seconds of ``time.monotonic()``."""

    frame: Frame
    submitted: float
    dropped: int = 0
    result: Result | None = None
