"""Zones of a camera, and the faces that it must ignore: those in masks, and small ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.faces import Faces
from ..core.polygons import GRID, to_grid

Points = Sequence[Sequence[float]]  # corners of a polygon: x, y as fractions of the picture's width and height


@dataclass(frozen=True)
class WatchedArea:
    """What of a camera's picture counts. Polygons are valid (``core.polygons.find_flaw``). A face is in a polygon if
    the center of its box is inside or on an edge.

    zones     polygons by name; an appearance says in which of them its face was
    masks     faces in these polygons are ignored
    min_face  faces lower than this fraction of the picture's height are ignored; 0: none
    """

    zones: Mapping[str, Points] = field(default_factory=dict)
    masks: Sequence[Points] = ()
    min_face: float = 0.0

    def counted(self, faces: Faces, width: int, height: int) -> Faces:
        """Return the ``faces`` in a picture of ``width`` × ``height`` pixels that are not ignored."""
        if not len(faces) or not (self.masks or self.min_face):
            return faces
        counts = faces.boxes[:, 3] - faces.boxes[:, 1] >= self.min_face * height
        centers = find_centers(faces.boxes / np.array([width, height, width, height]))
        for mask in self.masks:
            counts &= ~contains(mask, centers)
        return faces[counts]

    def zones_of(self, box: Sequence[float]) -> tuple[str, ...]:
        """Return the names of the zones of a face with this ``box``: x1 y1 x2 y2 as fractions of the picture."""
        if not self.zones:
            return ()
        center = find_centers(np.array([box]))
        return tuple(name for name, points in self.zones.items() if contains(points, center)[0])


EVERYWHERE = WatchedArea()


def find_centers(boxes: NDArray[Any]) -> NDArray[np.float64]:
    """Return the centers of ``boxes`` (N×4: x1 y1 x2 y2 as fractions of the picture): N×2, 0 to 1. A center outside the
    picture counts as the nearest place in it."""
    boxes = boxes.astype(np.float64)
    centers: NDArray[np.float64] = np.clip((boxes[:, :2] + boxes[:, 2:]) / 2, 0, 1)
    return centers


def contains(polygon: Points, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which ``points`` (N×2, 0 to 1) are inside ``polygon`` or on one of its edges: N bool.

    It counts the edges that a ray to the right crosses. Coordinates are rounded to 1 / ``GRID``; the rest is exact,
    because no product is larger than 2^42.
    """
    corners = np.array(to_grid(polygon), np.int64)
    ax, ay = corners.T[:, :, None]
    bx, by = np.roll(corners, -1, axis=0).T[:, :, None]
    px, py = np.rint(points * GRID).astype(np.int64).T
    side = (bx - ax) * (py - ay) - (by - ay) * (px - ax)  # edges × points
    beside = (np.minimum(ax, bx) <= px) & (px <= np.maximum(ax, bx))
    level = (np.minimum(ay, by) <= py) & (py <= np.maximum(ay, by))
    crossed = ((ay > py) != (by > py)) & ((side > 0) == (by > ay))
    inside = (crossed.sum(0) % 2 == 1) | ((side == 0) & beside & level).any(0)
    return np.asarray(inside, np.bool_)
