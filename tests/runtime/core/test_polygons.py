"""Polygons on a picture: those that cross themselves are refused, and whether a point is inside is exact."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from rkface.runtime.core.polygons import GRID, MOST_CORNERS, find_flaw
from rkface.runtime.tracking.zones import Polygons

# Other processes may take the cores meanwhile, and most corners at random are not those of a polygon.
at_any_speed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])

SQUARE = [[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]]
COARSE = st.integers(0, 8).map(lambda number: number / 8)  # corners often on one line, and points on edges
FINE = st.floats(0, 1)
polygons = st.one_of(*(st.lists(st.tuples(one, one), min_size=3, max_size=9) for one in (COARSE, FINE)))
points = st.one_of(*(st.lists(st.tuples(one, one), min_size=1, max_size=9) for one in (COARSE, FINE)))


def rounded(value):
    return Fraction(round(value * GRID), GRID)


def is_inside(polygon, point):
    """The reference, with fractions: on an edge, or an odd number of edges to the right of the point."""
    corners = [tuple(map(rounded, corner)) for corner in polygon]
    x, y = map(rounded, point)
    odd = False
    for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if ay == by == y and min(ax, bx) <= x <= max(ax, bx):
            return True
        if ay != by and min(ay, by) <= y <= max(ay, by):
            crossing = ax + (y - ay) * (bx - ax) / (by - ay)
            if crossing == x:
                return True
            odd ^= (ay > y) != (by > y) and crossing > x
    return odd


def meet(a, b, c, d):
    """Whether the segments a–b and c–d share more than a common end; with fractions, by solving for the crossing."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = a, b, c, d
    divisor = (bx - ax) * (dy - cy) - (by - ay) * (dx - cx)
    if divisor:
        along = Fraction((cx - ax) * (dy - cy) - (cy - ay) * (dx - cx), divisor)
        other = Fraction((cx - ax) * (by - ay) - (cy - ay) * (bx - ax), divisor)
        at = (ax + along * (bx - ax), ay + along * (by - ay))
        return 0 <= along <= 1 and 0 <= other <= 1 and not (at in (a, b) and at in (c, d))
    if (bx - ax) * (cy - ay) != (by - ay) * (cx - ax):
        return False  # parallel
    (first, last), (begin, end) = sorted((a, b)), sorted((c, d))
    return max(first, begin) < min(last, end) or (max(first, begin) == min(last, end) and not {a, b} & {c, d})


def crosses(polygon):
    corners = [tuple(map(rounded, corner)) for corner in polygon]
    edges = list(zip(corners, [*corners[1:], corners[0]], strict=True))
    return len(set(corners)) < len(corners) or any(
        meet(*edges[one], *edges[other]) for one in range(len(edges)) for other in range(one)
    )


@at_any_speed
@given(polygons)
def test_exactly_the_polygons_without_a_crossing_are_valid(polygon):
    assert bool(find_flaw(polygon)) == crosses(polygon)


@pytest.mark.slow
@at_any_speed
@given(polygons, points)
def test_points_inside_and_on_edges_are_in_a_polygon(polygon, points):
    assume(not find_flaw(polygon))
    found = Polygons([SQUARE, polygon]).contain(np.array(points))
    assert found.tolist() == [[is_inside(one, point) for point in points] for one in (SQUARE, polygon)]


@pytest.mark.slow
@at_any_speed
@given(polygons, st.data())
def test_corners_and_points_between_them_are_in_a_polygon(polygon, data):
    assume(not find_flaw(polygon))
    number = data.draw(st.integers(0, len(polygon) - 1))
    grid = np.rint(np.array(polygon) * GRID).astype(int)
    a, b = grid[number - 1], grid[number]
    steps = int(np.gcd(*(b - a)))
    at = a + (b - a) // steps * data.draw(st.integers(0, steps))
    assert Polygons([polygon, polygon]).contain(at[None] / GRID).all()


@pytest.mark.parametrize(
    "points, flaw",
    [
        ([[0.1, 0.1], [0.9, 0.1]], "needs 3 corners or more, not 2"),
        ([[0.1, 0.1], [0.9, 0.1], [1.01, 0.5]], "corner 3 is outside the picture"),
        ([[0.1, -0.1], [0.9, 0.1], [0.5, 0.5]], "corner 1 is outside the picture"),
        ([[0.1, float("nan")], [0.9, 0.1], [0.5, 0.5]], "corner 1 is outside the picture"),
        ([[0.1, 0.1], [0.9, 0.1], [0.5]], "corner 3 has 1 numbers"),
        ([[0.1, 0.1], [0.9, 0.9], [0.9, 0.1], [0.1, 0.9]], "the edges from corner 1 and from corner 3 cross"),
        ([[0.1, 0.1], [0.1, 0.1], [0.9, 0.1], [0.5, 0.5]], "corners 1 and 2 are at the same place"),
        ([[0.1, 0.1], [0.9, 0.1], [0.5, 0.5], [0.1, 0.1]], "corners 4 and 1 are at the same place"),
        ([[0.1, 0.1], [0.5, 0.1], [0.9, 0.1]], "cross or touch"),
        ([[number / 100, (number % 2) / 2] for number in range(MOST_CORNERS + 1)], f"may have {MOST_CORNERS} corners"),
    ],
)
def test_an_invalid_polygon_is_explained(points, flaw):
    assert flaw in find_flaw(points)


def test_a_polygon_may_touch_the_border_of_the_picture():
    assert not find_flaw([[0, 0], [1, 0], [1, 1], [0, 1]]) and not find_flaw(SQUARE) and not find_flaw(SQUARE[::-1])
    everything = Polygons([[[0, 0], [1, 0], [1, 1], [0, 1]]])
    assert everything.contain(np.array([[0, 0], [1, 1], [0.5, 0], [0.3, 0.7]])).all()
    assert Polygons([]).contain(np.array([[0.5, 0.5]])).shape == (0, 1)
