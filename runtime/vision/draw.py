"""Pictures for people: detected faces drawn on their photo."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, WorkError
from ..core.faces import Faces

BOX = (96, 220, 60)
POINTS = ((60, 60, 255), (255, 160, 60), (60, 220, 255), (255, 90, 220), (220, 255, 90))


def draw_faces(image: NDArray[np.uint8], faces: Faces, labels: Sequence[str] | None = None) -> NDArray[np.uint8]:
    """A copy of ``image`` (H×W×3 BGR) with boxes, landmarks and ``labels``, by default the scores."""
    canvas = image.copy()
    thick = max(1, round(min(image.shape[:2]) / 300))
    for index, (box, landmarks) in enumerate(zip(faces.boxes, faces.landmarks, strict=True)):
        x1, y1, x2, y2 = (round(float(value)) for value in box)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), BOX, thick, cv2.LINE_AA)
        for (x, y), color in zip(landmarks, POINTS, strict=True):
            cv2.circle(canvas, (round(float(x)), round(float(y))), thick + 1, color, cv2.FILLED, cv2.LINE_AA)
        text = labels[index] if labels is not None else f"{faces.scores[index]:.2f}"
        _label(canvas, text, x1, y1, thick)
    return canvas


def side_by_side(left: NDArray[np.uint8], right: NDArray[np.uint8], height: int = 480) -> NDArray[np.uint8]:
    """Two pictures at one height, next to each other."""
    scaled = [
        cv2.resize(
            image, (max(1, round(image.shape[1] * height / image.shape[0])), height), interpolation=cv2.INTER_AREA
        )
        for image in (left, right)
    ]
    return np.hstack(scaled).astype(np.uint8, copy=False)


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write ``image`` in the format of ``path``'s suffix: whole or not at all."""
    try:
        coded, data = cv2.imencode(path.suffix, image)
    except cv2.error:
        coded = False
    if not coded:
        raise InputError(f"{path}: a picture's name should end in .jpg or .png")
    try:
        # Not tempfile's: its files are for their owner's eyes only, whatever the umask.
        temporary = path.with_name(f".rkface-{os.getpid()}{path.suffix}")
        try:
            temporary.write_bytes(data.tobytes())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise WorkError(f"{path}: cannot be written: {error.strerror or error}") from error


def _label(canvas: NDArray[np.uint8], text: str, x: int, y: int, thick: int) -> None:
    scale = 0.4 * thick + 0.1
    (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    top = max(y - height - base, 0)
    cv2.rectangle(canvas, (x, top), (x + width, top + height + base), BOX, cv2.FILLED)
    cv2.putText(canvas, text, (x, top + height), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), thick, cv2.LINE_AA)
