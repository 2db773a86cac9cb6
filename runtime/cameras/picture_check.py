"""Whether a camera's pictures show anything: a covered lens, a decoder without data and a camera that hangs do not.

A camera that hangs or shows a test picture still delivers frames, so it counts as connected. The checks look at some
thousand pixels, and never influence detection: they only say what is wrong.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PATIENCE = 5.0  # seconds without information, after which there is no picture
HANGING = 20.0  # seconds with the same picture: encoders repeat pictures of a quiet scene for some seconds
INTERVAL = 1.0  # seconds between two checks: each costs as much as a search for faces, without the inference
GRID = (48, 64)  # rows and columns of the sampled pixels, about
BLACK = 8  # of 255: in a black picture, no pixel is brighter
FLAT = 3  # of 255: pixels of one color differ less from it than the noise of a sensor
MOSTLY = 0.97  # share of the pixels: one color with a time or a name written on it is still one color
DARK = 40  # of 255: encoders remove the noise of dark areas, so there all pixels must have one color
GREEN_SHARE = 0.5  # of the pixels. A YUV picture of zeros is green: red 0, green 135, blue 0 (ITU-R BT.601)
SAME = 0.1  # of 255: mean difference of two pictures. The noise of a sensor alone is larger


class PictureCheck:
    """Notes the pictures of one camera. Not thread-safe, except ``problem``.

    ``still_allowed``: the source may show the same picture for a long time, such as a folder of photos.
    """

    def __init__(self, *, still_allowed: bool = False) -> None:
        self.problem = ""  # what is wrong, after the words "Camera NAME delivers"; "" if the pictures show something
        self._still_allowed = still_allowed
        self._checked = -np.inf
        self._lack, self._lack_since = "", 0.0
        self._first: NDArray[np.int16] | None = None  # of those that are the same
        self._same_since = 0.0

    def note(self, image: NDArray[np.uint8], time: float, *, face: bool = False) -> None:
        """Check ``image`` (H×W×3 uint8 BGR), taken at ``time`` (seconds). ``face``: a face is tracked, so the pictures
        show something."""
        if 0 <= time - self._checked < INTERVAL:
            return
        if time < self._checked:  # the clock jumped back
            self._lack_since = self._same_since = time
        self._checked = time
        pixels = image[:: max(1, image.shape[0] // GRID[0]), :: max(1, image.shape[1] // GRID[1])].astype(np.int16)
        lack = "" if face else find_lack(pixels)
        if lack != self._lack:
            self._lack, self._lack_since = lack, time
        if not self._is_same(pixels):
            self._first, self._same_since = pixels, time
        if lack and time - self._lack_since >= PATIENCE:
            self.problem = lack
        elif not self._still_allowed and time - self._same_since >= HANGING:
            self.problem = (
                "no picture, only the same one again and again: the camera hangs, or shows a still picture because it "
                "has no signal. Start it again"
            )
        else:
            self.problem = ""

    def _is_same(self, pixels: NDArray[np.int16]) -> bool:
        first = self._first
        return first is not None and first.shape == pixels.shape and float(np.abs(first - pixels).mean()) <= SAME


def find_lack(pixels: NDArray[np.int16]) -> str:
    """Return why ``pixels`` (H×W×3, BGR) show nothing, after the words "Camera NAME delivers"; "" if they may show
    something."""
    if pixels.max() <= BLACK:
        return "black pictures: check whether its lens is covered"
    blue, green, red = (pixels[..., channel] for channel in range(3))
    if float(((green >= 100) & (green <= 170) & (red <= 40) & (blue <= 40)).mean()) >= GREEN_SHARE:
        return (
            "no picture, only green: its decoder gets no data. Start the camera again; if that does not help, check "
            "its pixel format and decoder"
        )
    color = np.median(pixels.reshape(-1, 3), axis=0)
    share = float((np.abs(pixels - color).max(axis=2) <= FLAT).mean())
    if share >= (1.0 if color.max() < DARK else MOSTLY):
        b, g, r = (round(float(one)) for one in color)
        return (
            f"no picture, only one color (red {r}, green {g}, blue {b}): check the camera and its cable, and whether "
            "its lens is covered"
        )
    return ""
