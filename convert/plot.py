"""Plots for the report, as inline SVG: sharp at any size, and no plotting library to install."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT, MARGIN = 760, 220, 36
COLOURS = ("#2f7ed8", "#e08a1e", "#2a8f5c")
BINS = 40


def histogram(series: Mapping[str, Sequence[float]], bins: int = BINS) -> str:
    """Bars of how often each value occurs, one colour a series, on one axis from the smallest value to the largest."""
    values = [np.asarray(numbers) for numbers in series.values() if len(numbers)]
    if not values:
        return ""
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
                    f"<rect x='{x:.1f}' y='{y:.1f}' width='{wide:.1f}' height='{tall:.1f}' fill='{COLOURS[index]}'/>"
                )
        bars.append(
            f"<rect x='{MARGIN + index * 130}' y='6' width='11' height='11' fill='{COLOURS[index]}'/>"
            + _text(MARGIN + 16 + index * 130, 16, name, "start")
        )
    ticks = "".join(
        _text(MARGIN + (WIDTH - 2 * MARGIN) * share, HEIGHT - MARGIN + 18, f"{low + (high - low) * share:.4f}")
        for share in (0, 0.25, 0.5, 0.75, 1)
    )
    axis = f"<path d='M{MARGIN} {HEIGHT - MARGIN}H{WIDTH - MARGIN}' stroke='currentColor' stroke-width='1'/>"
    most = _text(MARGIN - 6, MARGIN + 4, str(top), "end")
    return f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role=img>{''.join(bars)}{axis}{ticks}{most}</svg>"


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='12' text-anchor='{anchor}' fill='currentColor'>{escape(text)}</text>"
    )
