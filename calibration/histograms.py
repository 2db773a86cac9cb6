"""Histograms of the selected faces and of all usable faces, in one picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .collect import CandidateFace
from .contact_sheet import BACKGROUND, GAP, INK, TITLE, draw_text

BINS, COLUMNS = 20, 3
BAR_WIDTH, BAR_HEIGHT = 16, 110  # in pixels; of the highest bar
AXIS = 34  # pixels below the bars, for the scale
ALL, CHOSEN = (200, 200, 200), (160, 96, 32)
PANEL = BINS * BAR_WIDTH + 4 * GAP, TITLE + BAR_HEIGHT + AXIS

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
    """Draw histograms of pose, light, skin tone, size and quality: ``chosen`` faces in front of all usable faces.

    ``among``: all usable faces. ``left_out``: lines of ASCII text for the bottom. Returns H×W×3 uint8 BGR.
    """
    width, height = PANEL
    rows = -(-len(MEASURES) // COLUMNS)
    foot = TITLE + rows * height
    sheet = np.full((foot + TITLE * len(left_out) + GAP, COLUMNS * width + GAP, 3), BACKGROUND, np.uint8)
    title = f"blue: the {len(chosen)} selected faces; gray: all {len(among)} usable faces; each as shares of its number"
    draw_text(sheet, title, GAP, TITLE - 9, 0.5)
    for index, (name, measure) in enumerate(MEASURES):
        x, y = GAP + index % COLUMNS * width, TITLE + index // COLUMNS * height
        values = (np.array([measure(face) for face in faces]) for faces in (chosen, among))
        _panel(sheet[y : y + height, x : x + width], name, *values)
    for index, line in enumerate(left_out):
        draw_text(sheet, line, GAP, foot + TITLE * (index + 1) - 9, 0.5)
    return sheet


def _panel(place: NDArray[np.uint8], name: str, chosen: NDArray[np.float64], among: NDArray[np.float64]) -> None:
    # The outer bins also count values beyond them; otherwise one outlier would squeeze all others into a single bin.
    low, high = np.percentile(among, (0.5, 99.5))
    high = max(high, low + 1e-3)
    shares = [np.histogram(values.clip(low, high), BINS, (low, high))[0] / len(values) for values in (among, chosen)]
    top = max(float(share.max()) for share in shares)
    floor, left = TITLE + BAR_HEIGHT, 2 * GAP
    for share, color, inset in zip(shares, (ALL, CHOSEN), (1, 5), strict=True):
        for index, height in enumerate(np.round(BAR_HEIGHT * share / top).astype(int)):
            x = left + index * BAR_WIDTH
            place[floor - height : floor, x + inset : x + BAR_WIDTH - inset] = color
    place[floor, left : left + BINS * BAR_WIDTH] = INK
    draw_text(place, name, left, TITLE - 9, 0.45)
    for part, value in ((0, low), (0.5, (low + high) / 2), (1, high)):
        text = f"{value:.0f}" if high - low > 5 else f"{value:.2f}"
        draw_text(place, text, left + round(part * (BINS * BAR_WIDTH - 24)), floor + 16, 0.4)
