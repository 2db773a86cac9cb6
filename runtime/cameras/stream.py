"""What every source of pictures does: wait for the next one, and decode it if it is needed, as large as needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray


class Stream(Protocol):
    """An open source. ``format``, ``rate`` and ``decoder`` are what ``CameraState`` says of it, "" or 0 if unknown."""

    format: str
    rate: float
    decoder: str

    def grab(self) -> float:
        """Wait for the next picture, and return when it was captured, in seconds of ``time.monotonic``. Raises EOFError
        after the last one, and WorkError if the source is lost."""
        ...

    def decode(self) -> NDArray[np.uint8] | None:
        """Return the picture that was grabbed last: H×W×3 uint8 BGR, None if it cannot be decoded. A picture that
        nobody needs is not decoded."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, eq=False)
class ReducedPicture:
    """A picture that was decoded at a part of its size.

    image  H×W×3 uint8 BGR
    size   width and height in full size
    full   decodes the picture in full size, also after the next one was grabbed. Raises InputError if it is damaged
    """

    image: NDArray[np.uint8]
    size: tuple[int, int]
    full: Callable[[], NDArray[np.uint8]]


@runtime_checkable
class ReducingStream(Stream, Protocol):
    """A stream that decodes small pictures faster than large ones."""

    def decode_reduced(self, least: int) -> ReducedPicture | None:
        """Return the picture that was grabbed last at half or a quarter of its size, with ``least`` pixels or more on
        the longer side. None if it is too small for that, or cannot be decoded."""
        ...


def decode_grabbed(capture: cv2.VideoCapture) -> NDArray[np.uint8] | None:
    """Return the picture that ``capture`` grabbed, H×W×3 uint8 BGR. None if it cannot be decoded."""
    try:
        good, image = capture.retrieve()
    except cv2.error:
        return None
    if not good or image is None or not image.size or image.dtype != np.uint8:
        return None
    if image.ndim == 2:  # a thermal or night camera
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return np.asarray(image, np.uint8) if image.shape[2] == 3 else None
