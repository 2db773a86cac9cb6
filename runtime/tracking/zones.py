"""Zones of a camera, and the faces that it must ignore: those in masks, and small ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.faces import Faces
from ..core.polygons import GRID, to_grid

Points = Sequence[Sequence[float]]  # corners of a polygon: x, y as fractions of the picture's width and height


class Polygons:
    """Tests whether points are in polygons, all at once. Polygons are valid (``core.polygons.find_flaw``).

    It counts the edges that a ray to the right crosses. Coordinates are rounded to 1 / ``GRID``; the rest is exact,
    because no product is larger than 2^42.
    """

    def __init__(self, polygons: Sequence[Points]) -> None:
        self._count = len(polygons)
        corners = [np.array(to_grid(points), np.int64) for points in polygons]
        self._starts = np.cumsum([0, *map(len, corners)])[:-1]
        self._from = np.concatenate([*corners, np.zeros((0, 2), np.int64)]).T[:, :, None]  # x and y, edges, 1
        ends = [np.roll(one, -1, axis=0) for one in corners]
        self._to = np.concatenate([*ends, np.zeros((0, 2), np.int64)]).T[:, :, None]
        self._low, self._high = np.minimum(self._from, self._to), np.maximum(self._from, self._to)
        self._downward = self._to[1] > self._from[1]

    def contain(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which polygons contain which ``points`` (N×2, 0 to 1), inside or on an edge: polygons × N bool."""
        if not self._count:
            return np.zeros((0, len(points)), np.bool_)
        at = np.rint(points * GRID).astype(np.int64).T[:, None]
        (ax, ay), (bx, by), (px, py) = self._from, self._to, at
        side = (bx - ax) * (py - ay) - (by - ay) * (px - ax)  # edges × points
        crossed = ((ay > py) != (by > py)) & ((side > 0) == self._downward)
        on_edge = (side == 0) & ((self._low <= at) & (at <= self._high)).all(0)
        odd = np.add.reduceat(crossed, self._starts, axis=0, dtype=np.int64) % 2 == 1
        inside: NDArray[np.bool_] = odd | np.logical_or.reduceat(on_edge, self._starts, axis=0)
        return inside


@dataclass(frozen=True)
class WatchedArea:
    """What of a camera's picture counts. A face is in a polygon if the center of its box is inside or on an edge.

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
        if self.masks:
            counts &= ~self._mask_polygons.contain(find_centers(faces.boxes, width, height)).any(0)
        return faces[counts]

    def zones_of(self, boxes: NDArray[Any], width: int = 1, height: int = 1) -> list[tuple[str, ...]]:
        """Return the names of the zones of each of ``boxes`` (N×4: x1 y1 x2 y2) in a picture of ``width`` × ``height``
        pixels."""
        if not self.zones:
            return [()] * len(boxes)
        names = list(self.zones)
        inside = self._zone_polygons.contain(find_centers(boxes, width, height))
        return [tuple(name for name, one in zip(names, face, strict=True) if one) for face in inside.T.tolist()]

    @cached_property
    def _zone_polygons(self) -> Polygons:
        return Polygons(list(self.zones.values()))

    @cached_property
    def _mask_polygons(self) -> Polygons:
        return Polygons(self.masks)


EVERYWHERE = WatchedArea()


def find_centers(boxes: NDArray[Any], width: int, height: int) -> NDArray[np.float64]:
    """Return the centers of ``boxes`` (N×4: x1 y1 x2 y2 in pixels) as fractions of the picture: N×2, 0 to 1. A center
    outside the picture counts as the nearest place in it."""
    corners = boxes.astype(np.float64)
    centers: NDArray[np.float64] = (corners[:, :2] + corners[:, 2:]) / (2 * width, 2 * height)
    return np.minimum(np.maximum(centers, 0), 1)
