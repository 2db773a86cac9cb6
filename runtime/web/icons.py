"""The mark of rkface: a face in the corners of a frame. As SVG for the page, and as PNG for phones that install it."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

COLOR, GROUND = "#2f7d5b", "#f6f6f3"
SIDE = 32.0  # of the drawing; all lengths below are in its units
# Each line is a list of points; a smile is a quadratic Bézier curve: start, control point, end.
CORNERS = (
    ((3, 11), (3, 3), (11, 3)),
    ((21, 3), (29, 3), (29, 11)),
    ((29, 21), (29, 29), (21, 29)),
    ((11, 29), (3, 29), (3, 21)),
)
CORNER_WIDTH = 3.0
EYES, EYE_RADIUS = ((12, 13), (20, 13)), 2.0
SMILE, SMILE_WIDTH = ((11, 20), (16, 24), (21, 20)), 2.5
MASKED = 0.62  # share of the side that the mark takes in a maskable icon: all of it is in the circle of 0.8
PLAIN = 0.8  # and in others
FINER = 2  # the PNG is drawn larger by this factor, then averaged: smooth edges
BITS = 4  # of fractions of a pixel in OpenCV's drawing functions

PNG_ICONS = {  # name: (side in pixels, share of the side that the mark takes)
    "icon-192.png": (192, PLAIN),
    "icon-512.png": (512, PLAIN),
    "icon-maskable-512.png": (512, MASKED),
    "icon-180.png": (180, PLAIN),  # for iOS, which rounds the corners itself
}


@cache
def draw_icons() -> dict[str, bytes]:
    """All icons by the names of their files."""
    return {"icon.svg": _svg().encode()} | {name: _png(*icon) for name, icon in PNG_ICONS.items()}


def _svg() -> str:
    corners = "".join(f"M{'L'.join(f'{x} {y}' for x, y in corner)}" for corner in CORNERS)
    eyes = "".join(f'<circle cx="{x}" cy="{y}" r="{EYE_RADIUS:g}" fill="{COLOR}"/>' for x, y in EYES)
    (x0, y0), (x1, y1), (x2, y2) = SMILE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE:g} {SIDE:g}">'
        f'<path d="{corners}" fill="none" stroke="{COLOR}" stroke-width="{CORNER_WIDTH:g}"/>{eyes}'
        f'<path d="M{x0} {y0}Q{x1} {y1} {x2} {y2}" fill="none" stroke="{COLOR}" stroke-width="{SMILE_WIDTH:g}" '
        'stroke-linecap="round"/></svg>'
    )


def _png(side: int, share: float) -> bytes:
    """The mark in the middle of a square of ``side`` pixels, of which it takes ``share``."""
    image = np.full((side * FINER, side * FINER, 3), _bgr(GROUND), np.uint8)
    scale = side * FINER * share / SIDE
    start = side * FINER * (1 - share) / 2

    def fixed(length: float) -> int:
        return round(length * (1 << BITS))

    def place(point: tuple[float, float]) -> tuple[int, int]:
        return fixed(point[0] * scale + start), fixed(point[1] * scale + start)

    for x1, y1, x2, y2 in _corner_boxes():
        cv2.rectangle(image, place((x1, y1)), place((x2, y2)), _bgr(COLOR), cv2.FILLED, shift=BITS)
    for eye in EYES:
        cv2.circle(image, place(eye), fixed(EYE_RADIUS * scale), _bgr(COLOR), cv2.FILLED, shift=BITS)
    smile = np.array([place(point) for point in _curve()], np.int32)
    cv2.polylines(image, [smile], False, _bgr(COLOR), round(SMILE_WIDTH * scale), shift=BITS)
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".png", small)[1].tobytes()


def _curve(points: int = 40) -> list[tuple[float, float]]:
    """Points on the smile."""
    (x0, y0), (x1, y1), (x2, y2) = SMILE
    weights = [((1 - t) ** 2, 2 * t * (1 - t), t**2) for t in np.linspace(0, 1, points).tolist()]
    return [(a * x0 + b * x1 + c * x2, a * y0 + b * y1 + c * y2) for a, b, c in weights]


def _corner_boxes() -> list[tuple[float, float, float, float]]:
    """The straight lines of the corners as boxes, x1 y1 x2 y2: OpenCV's thick lines have round ends."""
    boxes, half = [], CORNER_WIDTH / 2
    for (x0, y0), (x1, y1), (x2, y2) in CORNERS:
        for (xa, ya), (xb, yb) in (((x0, y0), (x1, y1)), ((x1, y1), (x2, y2))):
            wide, high = (half, 0.0) if xa == xb else (0.0, half)
            boxes.append((min(xa, xb) - wide, min(ya, yb) - high, max(xa, xb) + wide, max(ya, yb) + high))
        boxes.append((x1 - half, y1 - half, x1 + half, y1 + half))  # the outer corner, where they meet
    return boxes


def _bgr(color: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(color[1:])
    return blue, green, red
