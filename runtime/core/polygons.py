"""Polygons on a picture: which ones are valid. Coordinates are fractions of its width and height, 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

# All tests compute with whole numbers, which makes them exact: a fraction is rounded to a multiple of 1 / GRID. That is
# less than a hundredth of a pixel of an 8K picture.
GRID = 1 << 20
MOST_CORNERS = 64

Corner = tuple[int, int]  # in units of 1 / GRID


def to_grid(points: Sequence[Sequence[float]]) -> list[Corner]:
    """``points`` (each x, y from 0 to 1) as whole numbers, in units of 1 / ``GRID``."""
    return [(round(x * GRID), round(y * GRID)) for x, y in points]


def find_flaw(points: Sequence[Sequence[float]]) -> str:
    """Say why ``points`` are not the corners of a polygon, in order, and what to do; "" if they are. The last corner is
    connected with the first one. The edges may touch only at their common corners."""
    for number, point in enumerate(points, 1):
        if len(point) != 2:
            return f"corner {number} has {len(point)} numbers, but must be [x, y]"
        if not all(0 <= value <= 1 for value in point):  # also false for NaN
            return (
                f"corner {number} is outside the picture: x and y must be from 0 to 1, as fractions of its width and "
                "height"
            )
    if len(points) < 3:
        return f"a polygon needs 3 corners or more, not {len(points)}"
    if len(points) > MOST_CORNERS:
        return f"a polygon may have {MOST_CORNERS} corners, not {len(points)}"
    return _find_crossing(to_grid(points))


def _find_crossing(corners: Sequence[Corner]) -> str:
    count = len(corners)
    for at, corner in enumerate(corners):
        if corner == corners[at - 1]:
            return f"corners {(at - 1) % count + 1} and {at + 1} are at the same place: leave one out"
    for first, second in combinations(range(count), 2):
        a, b, c, d = corners[first], corners[(first + 1) % count], corners[second], corners[(second + 1) % count]
        if b == c and second == first + 1:
            crossing = _turns_back(a, b, d)
        elif d == a and (second + 1) % count == first:
            crossing = _turns_back(c, d, b)
        else:
            crossing = _meet(a, b, c, d)
        if crossing:
            return (
                f"the edges from corner {first + 1} and from corner {second + 1} cross or touch: move a corner, or "
                "change the order of the corners"
            )
    return ""


def _cross(a: Corner, b: Corner, c: Corner) -> int:
    """Positive if ``c`` lies on one side of the line from ``a`` to ``b``, negative on the other side, 0 on the line."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _turns_back(a: Corner, b: Corner, c: Corner) -> bool:
    """Whether the edge from ``b`` to ``c`` runs along the edge from ``a`` to ``b``."""
    return _cross(a, b, c) == 0 and (a[0] - b[0]) * (c[0] - b[0]) + (a[1] - b[1]) * (c[1] - b[1]) > 0


def _meet(a: Corner, b: Corner, c: Corner, d: Corner) -> bool:
    """Whether the segments a–b and c–d have a common point."""
    sides = [_sign(_cross(a, b, c)), _sign(_cross(a, b, d)), _sign(_cross(c, d, a)), _sign(_cross(c, d, b))]
    if sides[0] != sides[1] and sides[2] != sides[3]:
        return True
    ends = [(a, b, c), (a, b, d), (c, d, a), (c, d, b)]
    return any(side == 0 and _between(*one) for side, one in zip(sides, ends, strict=True))


def _between(a: Corner, b: Corner, c: Corner) -> bool:
    """Whether ``c``, which is on the line through ``a`` and ``b``, lies between them."""
    return min(a[0], b[0]) <= c[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= c[1] <= max(a[1], b[1])


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)
