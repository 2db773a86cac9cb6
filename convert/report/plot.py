"""Plots for the reports, as inline SVG: sharp at any size, and no plotting library to install."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite

import numpy as np
from markupsafe import Markup

WIDTH, HEIGHT, MARGIN = 560, 220, 40
COLORS = ("#2f7ed8", "#e08a1e", "#2a8f5c")
BINS = 40
FONT, LINE = 13, 16  # size of text, and distance between two labels, in pixels
FRAME = (MARGIN + 18, WIDTH - 8, 34, HEIGHT + 20)  # left, right, top and bottom of a plot with a grid, in pixels


@dataclass(frozen=True)
class ScatterPoint:
    """A point with its label; the chosen one is drawn filled."""

    label: str
    x: float
    y: float
    chosen: bool = False


def histogram(series: Mapping[str, Sequence[float]], bins: int = BINS) -> Markup:
    """A histogram with one color for each series, on a common axis from the smallest value to the largest."""
    values = [np.asarray(numbers) for numbers in series.values() if len(numbers)]
    if not values:
        return Markup("")
    low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
    span = max(high - low, 1e-3)
    low, high = low - span * 0.02, high + span * 0.02
    counts = [np.histogram(v, bins=bins, range=(low, high))[0] for v in values]
    top = max(int(count.max()) for count in counts)
    step = (WIDTH - 2 * MARGIN) / bins
    wide = step / len(counts)
    bars = []
    for index, (name, count) in enumerate(zip(series, counts, strict=False)):
        for place, number in enumerate(count):
            if number:
                tall = (HEIGHT - 2 * MARGIN) * number / top
                x, y = MARGIN + place * step + index * wide, HEIGHT - MARGIN - tall
                bars.append(
                    f"<rect x='{x:.1f}' y='{y:.1f}' width='{wide:.1f}' height='{tall:.1f}' fill='{COLORS[index]}'/>"
                )
        bars.append(
            f"<rect x='{MARGIN + index * 130}' y='6' width='11' height='11' fill='{COLORS[index]}'/>"
            + svg_text(MARGIN + 16 + index * 130, 16, name, "start")
        )
    ticks = "".join(
        svg_text(MARGIN + (WIDTH - 2 * MARGIN) * share, HEIGHT - MARGIN + 18, f"{low + (high - low) * share:.4f}")
        for share in (0, 0.25, 0.5, 0.75, 1)
    )
    axis = f"<path d='M{MARGIN} {HEIGHT - MARGIN}H{WIDTH - MARGIN}' stroke='currentColor' stroke-width='1'/>"
    most = svg_text(MARGIN - 6, MARGIN + 4, str(top), "end")
    return Markup(f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role=img>{''.join(bars)}{axis}{ticks}{most}</svg>")


def scatter(points: Sequence[ScatterPoint], x_name: str, y_name: str, form: str, bar: float) -> Markup | None:
    """A scatter plot with labels and a dashed line at y = ``bar``. ``form`` is the format of y values. None if there
    are fewer than two points, because a plot of one says no more than its two numbers.

    The x axis starts at 0, so that twice the cost is twice as far to the right. Labels never overlap: they stand in a
    column at the right, at least one line apart, and a thin line connects each with its point.
    """
    points = [point for point in points if isfinite(point.x) and isfinite(point.y)]
    if len(points) < 2:
        return None
    left, right, top, bottom = FRAME
    reach = max(point.x for point in points) * 1.45 or 1.0  # room for labels on the right
    low, high = min(bar, *(point.y for point in points)), max(bar, *(point.y for point in points))
    room = max(high - low, abs(high) * 1e-3) * 0.12
    low, high = low - room, high + room

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (right - left) * x / reach, bottom - (bottom - top) * (y - low) / (high - low)

    parts = [svg_text(0, 16, y_name, "start")]
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = place(reach * share, low + (high - low) * share)
        parts.append(f"<path d='M{left} {y:.1f}H{right}' stroke='currentColor' opacity='.12'/>")
        parts.append(svg_text(left - 6, y + 4, format(low + (high - low) * share, form), "end"))
        parts.append(svg_text(x, bottom + 18, f"{reach * share:.2g}", "end" if share == 1 else "middle"))
    parts.append(svg_text((left + right) / 2, bottom + 36, x_name))
    level = place(0, bar)[1]
    parts.append(f"<path d='M{left} {level:.1f}H{right}' stroke='{COLORS[1]}' stroke-dasharray='5 4'/>")
    parts.append(svg_text(left + 4, level - 5, f"required {format(bar, form)}", "start"))
    placed = sorted(((*place(point.x, point.y), point) for point in points), key=lambda one: one[1])
    labels = max(x for x, _, _ in placed) + 16  # in one column, so that no label lies on another point
    for (x, y, point), height in zip(placed, _spread([y for _, y, _ in placed], top, bottom), strict=True):
        radius, fill = (6, COLORS[2]) if point.chosen else (4.5, "none")
        parts.append(
            f"<path d='M{x:.1f} {y:.1f}L{labels:.1f} {height:.1f}' stroke='currentColor' opacity='.5'/>"
            f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{radius}' stroke='{COLORS[2]}' stroke-width='2' fill='{fill}'/>"
            + svg_text(
                labels + 3, height + 4, point.label + (" (chosen)" if point.chosen else ""), "start", point.chosen
            )
        )
    return Markup(f"<svg viewBox='0 0 {WIDTH} {bottom + 44}' role=img>{''.join(parts)}</svg>")


def line_by_layer(series: Mapping[str, Sequence[float]], x_name: str, y_name: str) -> Markup:
    """One line for each series over its index, on a logarithmic scale of four decades. Smaller values are drawn at the
    bottom."""
    count = max((len(values) for values in series.values()), default=0)
    top_value = max((value for values in series.values() for value in values if isfinite(value)), default=0.0)
    if count < 2 or top_value <= 0:
        return Markup("")
    ceiling = int(np.ceil(np.log10(top_value)))
    floor = ceiling - 4
    left, right, top, bottom = FRAME
    parts = [svg_text(0, 16, y_name, "start")]
    for power in range(floor, ceiling + 1):
        y = bottom - (bottom - top) * (power - floor) / (ceiling - floor)
        parts.append(f"<path d='M{left} {y:.1f}H{right}' stroke='currentColor' opacity='.12'/>")
        parts.append(svg_text(left - 6, y + 4, f"{10.0**power:g}", "end"))
    for index, (name, values) in enumerate(series.items()):
        heights = np.clip(np.log10(np.maximum(values, 1e-12)), floor, ceiling)
        line = " ".join(
            f"{left + (right - left) * place / (count - 1):.1f},"
            f"{bottom - (bottom - top) * (height - floor) / (ceiling - floor):.1f}"
            for place, height in enumerate(heights.tolist())
        )
        parts.append(f"<polyline points='{line}' fill='none' stroke='{COLORS[index]}' stroke-width='1.8'/>")
        x = right - 190 * (len(series) - index) + 40
        parts.append(f"<rect x='{x}' y='6' width='11' height='11' fill='{COLORS[index]}'/>")
        parts.append(svg_text(x + 16, 16, name, "start"))
    parts.append(svg_text((left + right) / 2, bottom + 18, x_name))
    return Markup(f"<svg viewBox='0 0 {WIDTH} {bottom + 26}' role=img>{''.join(parts)}</svg>")


def _spread(heights: Sequence[float], top: float, bottom: float) -> list[float]:
    """``heights`` (rising), moved as little as possible so that neighbors are at least one line apart, between ``top``
    and ``bottom``. They are closer if there are too many."""
    gap = min(LINE, (bottom - top) / max(len(heights) - 1, 1))
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + gap if placed else top))
    limit = bottom
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], limit)
        limit = placed[index] - gap
    return placed


def svg_text(x: float, y: float, content: str, anchor: str = "middle", strong: bool = False) -> str:
    """An SVG text element; ``content`` is escaped."""
    weight = " font-weight='600'" if strong else ""
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{FONT}' text-anchor='{anchor}'{weight} fill='currentColor'>"
        f"{escape(content)}</text>"
    )
