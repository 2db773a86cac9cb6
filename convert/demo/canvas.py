"""Anti-aliased drawing on a transparent layer, and the view that projects a face onto it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # N×2

_SHIFT = 4  # fractional bits of sub-pixel vertices in OpenCV
# The front of a head as an ellipsoid: half width, half height and depth in face units.
_ELLIPSOID = (1.12, 1.6, 0.62)


@dataclass(frozen=True)
class HeadView:
    """Position and direction of a head.

    Angles are in radians; yaw > 0 turns to the viewer's right, pitch > 0 looks down, roll > 0 tilts clockwise.
    ``scale`` is pixels per face unit, ``x`` and ``y`` the head's center in pixels.

    Weak perspective: the outline keeps its shape when the head turns, and points on the front of the ellipsoid move by
    their depth. This parallax makes landmarks move like those of a real head.
    """

    yaw: float
    pitch: float
    roll: float
    scale: float
    x: float
    y: float

    def outline(self, points: Points) -> Points:
        """N×2 face units in the plane of the silhouette → N×2 pixels."""
        cosine, sine = np.cos(self.roll), np.sin(self.roll)
        turned = np.asarray(points, np.float64) @ np.array([[cosine, sine], [-sine, cosine]])
        return np.asarray(turned * self.scale + (self.x, self.y))

    def surface(self, points: Points, lift: float = 0.0) -> Points:
        """N×2 face units on the front of the head, ``lift`` above it → N×2 pixels."""
        points = np.asarray(points, np.float64)
        across, down = points[:, 0], points[:, 1]
        wide, high, deep = _ELLIPSOID
        depth = deep * np.sqrt(np.maximum(0, 1 - (across / wide) ** 2 - (down / high) ** 2)) + lift
        moved = np.stack(
            [
                across * np.cos(self.yaw) + depth * np.sin(self.yaw),
                down * np.cos(self.pitch) + (depth - 0.8 * deep) * np.sin(self.pitch),
            ],
            axis=1,
        )
        return self.outline(moved)


class PaintLayer:
    """A transparent image: H×W×4 uint8, blue, green, red and alpha, with colors multiplied by alpha.

    OpenCV blends all four channels of an anti-aliased edge in the same way, which is exactly premultiplied "over".
    """

    def __init__(self, width: int, height: int) -> None:
        self.pixels: NDArray[np.uint8] = np.zeros((height, width, 4), np.uint8)

    def polygon(self, points: Points, color: Any) -> None:
        """Fill the polygon with vertices ``points`` (N×2 pixels)."""
        cv2.fillPoly(self.pixels, [_fixed(points)], _opaque(color), cv2.LINE_AA, _SHIFT)

    def line(self, points: Points, color: Any, width: float, closed: bool = False) -> None:
        """Draw a line through ``points`` (N×2 pixels); lines thinner than a pixel fade instead of vanishing."""
        if width < 1:
            # A thin line on a small face: blend it with the background, like a lens.
            x, y = np.clip(points.mean(axis=0).astype(int), 0, np.array(self.pixels.shape[1::-1]) - 1)
            under = self.pixels[y, x, :3].astype(np.float64)
            color = under + (np.asarray(color) - under) * max(width, 0.25)
        thick = max(1, round(width))
        cv2.polylines(self.pixels, [_fixed(points)], closed, _opaque(color), thick, cv2.LINE_AA, _SHIFT)

    def multiply(self, factors: NDArray[np.float32]) -> None:
        """Multiply the colors by ``factors``, h×w×3 float32 of any smaller size, scaled up to the layer."""
        height, width = self.pixels.shape[:2]
        full = cv2.resize(factors, (width, height), interpolation=cv2.INTER_LINEAR)
        bgr = cv2.cvtColor(self.pixels, cv2.COLOR_BGRA2BGR)
        cv2.mixChannels([cv2.multiply(bgr, full, dtype=cv2.CV_8U)], [self.pixels], [0, 0, 1, 1, 2, 2])

    def onto(self, image: NDArray[np.uint8], x: int, y: int) -> None:
        """Draw the layer over ``image`` (H×W×3 uint8, changed in place) with its top left corner at ``x``, ``y``."""
        height, width = self.pixels.shape[:2]
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, image.shape[1]), min(y + height, image.shape[0])
        if left >= right or top >= bottom:
            return
        part = self.pixels[top - y : bottom - y, left - x : right - x]
        under = np.ascontiguousarray(image[top:bottom, left:right])
        keep = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(part, 3)), cv2.COLOR_GRAY2BGR)
        over = cv2.multiply(under, keep, scale=1 / 255)
        image[top:bottom, left:right] = cv2.add(over, cv2.cvtColor(part, cv2.COLOR_BGRA2BGR))

    def shrunk(self, factor: int) -> PaintLayer:
        """The layer at 1/``factor`` of its size; an integer factor averages exactly."""
        height, width = self.pixels.shape[0] // factor, self.pixels.shape[1] // factor
        small = PaintLayer(0, 0)
        area = cv2.resize(self.pixels, (width, height), interpolation=cv2.INTER_AREA)
        small.pixels = area.astype(np.uint8, copy=False)
        return small


def ellipse(x: float, y: float, wide: float, high: float, count: int = 28, *, tilt: float = 0.0) -> Points:
    """``count`` points of an ellipse with half axes ``wide`` and ``high``, turned by ``tilt`` radians."""
    points = _circle(count) * (wide, high)
    cosine, sine = np.cos(tilt), np.sin(tilt)
    return np.asarray(points @ np.array([[cosine, sine], [-sine, cosine]]) + (x, y))


@cache
def _circle(count: int) -> Points:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def band(upper: Points, lower: Points) -> Points:
    """The polygon between two curves with the same direction."""
    return np.concatenate([upper, lower[::-1]])


def mix(first: Any, second: Any, share: float) -> NDArray[np.float64]:
    """A mix of two colors with the given ``share`` of the second."""
    return np.asarray(first, np.float64) * (1 - share) + np.asarray(second, np.float64) * share


def _fixed(points: Points) -> NDArray[np.int32]:
    return np.asarray(np.round(points * (1 << _SHIFT)), np.int32)


def _opaque(color: Any) -> tuple[float, float, float, float]:
    blue, green, red = np.clip(np.asarray(color, np.float64), 0, 255)
    return float(blue), float(green), float(red), 255.0
