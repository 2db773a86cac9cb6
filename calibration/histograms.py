"""How the chosen faces are spread beside all that there were: one picture of histograms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .collect import CandidateFace
from .contact_sheet import GAP, INK, PAPER, TITLE, draw_text

BINS, COLUMNS = 20, 3
STEP, TALL = 16, 110  # pixels of a bin's width and of the highest bar
AXIS = 34  # pixels below the bars: the scale and some air
ALL, CHOSEN = (200, 200, 200), (160, 96, 32)
PANEL = BINS * STEP + 4 * GAP, TITLE + TALL + AXIS

MEASURES: tuple[tuple[str, Callable[[CandidateFace], float]], ...] = (
    ("yaw, degrees", lambda face: face.appearance.yaw),
    ("pitch, degrees", lambda face: face.appearance.pitch),
    ("roll, degrees", lambda face: face.appearance.roll),
    ("light: mean L*", lambda face: face.appearance.light),
    ("contrast: deviation of L*", lambda face: face.appearance.contrast),
    ("side light: L* right - left", lambda face: face.appearance.side),
    ("skin tone: ITA, degrees, rough", lambda face: face.appearance.skin),
    ("size: pixels between the eyes", lambda face: face.quality.size),
    ("quality", lambda face: face.quality.score),
)


def histogram_sheet(
    chosen: Sequence[CandidateFace], among: Sequence[CandidateFace], left_out: Sequence[str]
) -> NDArray[np.uint8]:
    """Pose, light, skin tone, size and quality of the ``chosen`` faces in front of those of all they were chosen
    ``among``, and the lines ``left_out`` (ASCII) below. H×W×3 uint8 BGR."""
    width, height = PANEL
    rows = -(-len(MEASURES) // COLUMNS)
    foot = TITLE + rows * height
    sheet = np.full((foot + TITLE * len(left_out) + GAP, COLUMNS * width + GAP, 3), PAPER, np.uint8)
    title = f"blue: the {len(chosen)} chosen faces; gray: all {len(among)} usable ones; each as shares of its number"
    draw_text(sheet, title, GAP, TITLE - 9, 0.5)
    for index, (name, measure) in enumerate(MEASURES):
        x, y = GAP + index % COLUMNS * width, TITLE + index // COLUMNS * height
        values = (np.array([measure(face) for face in faces]) for faces in (chosen, among))
        _panel(sheet[y : y + height, x : x + width], name, *values)
    for index, line in enumerate(left_out):
        draw_text(sheet, line, GAP, foot + TITLE * (index + 1) - 9, 0.5)
    return sheet


def _panel(place: NDArray[np.uint8], name: str, chosen: NDArray[np.float64], among: NDArray[np.float64]) -> None:
    # The outermost bins also hold what lies beyond: a single stray value would squeeze all others into one bin.
    low, high = np.percentile(among, (0.5, 99.5))
    high = max(high, low + 1e-3)
    shares = [np.histogram(values.clip(low, high), BINS, (low, high))[0] / len(values) for values in (among, chosen)]
    top = max(float(share.max()) for share in shares)
    floor, left = TITLE + TALL, 2 * GAP
    for share, color, inset in zip(shares, (ALL, CHOSEN), (1, 5), strict=True):
        for index, height in enumerate(np.round(TALL * share / top).astype(int)):
            x = left + index * STEP
            place[floor - height : floor, x + inset : x + STEP - inset] = color
    place[floor, left : left + BINS * STEP] = INK
    draw_text(place, name, left, TITLE - 9, 0.45)
    for part, value in ((0, low), (0.5, (low + high) / 2), (1, high)):
        text = f"{value:.0f}" if high - low > 5 else f"{value:.2f}"
        draw_text(place, text, left + round(part * (BINS * STEP - 24)), floor + 16, 0.4)
