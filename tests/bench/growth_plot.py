"""Time against the number of samples, both on logarithmic axes: the plots of tests/bench/search_growth.py as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from scaling import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH

from rkface.convert.report.plot import COLORS, svg_text

Curve = Sequence[tuple[float, float]]  # samples and milliseconds, fewest samples first


def draw_growth(plots: Mapping[str, Mapping[str, Curve]]) -> str:
    """An SVG file with ``plots`` by title, two side by side, and the curves of each by name. All have the same axes, so
    that they can be compared."""
    points = [point for curves in plots.values() for curve in curves.values() for point in curve]
    x_axis, y_axis = (powers_around([point[axis] for point in points]) for axis in (0, 1))
    drawn = []
    for index, (title, curves) in enumerate(plots.items()):
        plot = _draw(title, curves, x_axis, y_axis)
        drawn.append(f"<g transform='translate({index % 2 * WIDTH} {index // 2 * HEIGHT})'>{plot}</g>")
    width, height = 2 * WIDTH, (len(plots) + 1) // 2 * HEIGHT
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' "
        f"font-family='sans-serif' color='#222'><rect width='{width}' height='{height}' fill='white'/>{''.join(drawn)}"
        "</svg>\n"
    )


def powers_around(values: Sequence[float]) -> list[int]:
    """The powers of ten from the last one that is not above ``values`` to the first one that is not below them."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) - 1e-9)
    return list(range(low, max(high, low + 1) + 1))


def _draw(title: str, curves: Mapping[str, Curve], x_axis: Sequence[int], y_axis: Sequence[int]) -> str:
    def x(value: float) -> float:
        return LEFT + (math.log10(value) - x_axis[0]) / (x_axis[-1] - x_axis[0]) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (math.log10(value) - y_axis[0]) / (y_axis[-1] - y_axis[0]) * (HEIGHT - TOP - BOTTOM)

    parts = [
        svg_text(LEFT - 40, 18, f"{title}: ms of CPU time", "start", strong=True),
        svg_text((LEFT + WIDTH) / 2, HEIGHT - 8, "thousand samples"),
    ]
    for power in y_axis:
        at = y(10.0**power)
        parts.append(f"<path d='M{LEFT} {at:.1f}H{WIDTH - RIGHT}' stroke='currentColor' opacity='.12'/>")
        parts.append(svg_text(LEFT - 6, at + 4, f"{10.0**power:g}", "end"))
    parts += [svg_text(x(10.0**power), HEIGHT - BOTTOM + 17, f"{10.0 ** (power - 3):g}") for power in x_axis]
    for row, (color, (name, curve)) in enumerate(zip(COLORS, curves.items(), strict=False)):
        places = [(x(samples), y(value)) for samples, value in curve]
        line = "L".join(f"{left:.1f} {down:.1f}" for left, down in places)
        parts.append(f"<path d='M{line}' stroke='{color}' fill='none' stroke-width='1.5'/>")
        parts += [f"<circle cx='{left:.1f}' cy='{down:.1f}' r='3.5' fill='{color}'/>" for left, down in places]
        parts.append(f"<circle cx='{LEFT + 14}' cy='{TOP + 12 + 16 * row}' r='3.5' fill='{color}'/>")
        parts.append(svg_text(LEFT + 24, TOP + 16 + 16 * row, name, "start"))
    return "".join(parts)
