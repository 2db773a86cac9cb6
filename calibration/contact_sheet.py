"""The contact sheet shows all selected faces, because people notice a wrong calibration set best with their eyes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from .collect import CandidateFace

COLUMNS = 12
GAP, CAPTION, TITLE = 6, 14, 28
BACKGROUND, INK = (245, 245, 245), (40, 40, 40)


def contact_sheet(faces: Sequence[CandidateFace], title: str) -> NDArray[np.uint8]:
    """Draw ``faces`` in rows, with their numbers and quality; ``title`` (ASCII) is above. Returns H×W×3 uint8 BGR."""
    columns = min(COLUMNS, max(4, len(faces)))
    height, width = faces[0].crop.shape[:2]
    across, down = width + GAP, height + CAPTION + GAP
    rows = -(-len(faces) // columns)
    sheet = np.full((TITLE + rows * down + GAP, columns * across + GAP, 3), BACKGROUND, np.uint8)
    draw_text(sheet, title, GAP, TITLE - 9, 0.5)
    for index, face in enumerate(faces):
        x, y = GAP + index % columns * across, TITLE + index // columns * down
        sheet[y : y + height, x : x + width] = face.crop
        draw_text(sheet, f"{index:04}  q {face.quality.score:.2f}", x, y + height + CAPTION - 3, 0.36)
    return sheet


def draw_text(sheet: NDArray[np.uint8], text: str, x: int, y: int, scale: float) -> None:
    """Draw ASCII ``text`` on ``sheet`` with its baseline at (``x``, ``y``) in pixels."""
    cv2.putText(sheet, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, INK, 1, cv2.LINE_AA)
