"""Draw detected faces on a photo, and write images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.atomic import write_atomically
from ..core.checks import check_type
from ..core.errors import InputError
from ..core.faces import Faces
from ..core.paths import as_path
from .check_input import check_image

BOX = (96, 220, 60)
POINTS = ((60, 60, 255), (255, 160, 60), (60, 220, 255), (255, 90, 220), (220, 255, 90))


def draw_faces(image: NDArray[np.uint8], faces: Faces, labels: Sequence[str] | None = None) -> NDArray[np.uint8]:
    """Draw the boxes, landmarks and labels of faces on a copy of an image.

    Args:
        image: H×W×3 uint8, BGR.
        faces: The faces in ``image``.
        labels: One text for each face, in ASCII. None draws the scores.

    Returns:
        A new image of the same size.

    Raises:
        InputError: ``image`` is not such an array, ``faces`` is not a Faces object, or there is not one label
            for each face.
    """
    check_image(image)
    check_type(faces, Faces, "draw_faces takes the faces of one image", "pass what pipeline.recognize(image) returned")
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels or ()):
        raise InputError("labels must be a list with one string for each face")
    if labels is not None and len(labels) != len(faces):
        raise InputError(f"{len(labels)} labels for {len(faces)} faces: pass one label for each face")
    canvas = image.copy()
    thick = _thickness(image)
    for index, (box, landmarks) in enumerate(zip(faces.boxes, faces.landmarks, strict=True)):
        x1, y1, x2, y2 = (round(float(value)) for value in box)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), BOX, thick, cv2.LINE_AA)
        for (x, y), color in zip(landmarks, POINTS, strict=True):
            cv2.circle(canvas, (round(float(x)), round(float(y))), thick + 1, color, cv2.FILLED, cv2.LINE_AA)
        text = labels[index] if labels is not None else f"{faces.scores[index]:.2f}"
        _label(canvas, text, x1, y1, thick)
    return canvas


def draw_boxes(image: NDArray[np.uint8], boxes: Mapping[str, Sequence[int]]) -> NDArray[np.uint8]:
    """``image`` (H×W×3 uint8 BGR) with ``boxes`` (x1, y1, x2, y2), each with its label."""
    canvas = image.copy()
    thick = _thickness(image)
    for label, (x1, y1, x2, y2) in boxes.items():
        cv2.rectangle(canvas, (x1, y1), (x2, y2), BOX, thick, cv2.LINE_AA)
        _label(canvas, label, x1, y1, 2 * thick)
    return canvas


def side_by_side(left: NDArray[np.uint8], right: NDArray[np.uint8], height: int = 480) -> NDArray[np.uint8]:
    """Two images next to each other, both scaled to ``height`` pixels."""
    scaled = [
        cv2.resize(
            image, (max(1, round(image.shape[1] * height / image.shape[0])), height), interpolation=cv2.INTER_AREA
        )
        for image in (left, right)
    ]
    return np.hstack(scaled).astype(np.uint8, copy=False)


def write_image(path: str | Path, image: NDArray[np.uint8]) -> None:
    """Write an image to a file. If this fails, an existing file is unchanged.

    Args:
        path: The file. Its suffix decides the format: .jpg, .png, .webp or .bmp.
        image: H×W×3 uint8, BGR.

    Raises:
        InputError: ``image`` is not such an array, or OpenCV cannot write this format.
        WorkError: The file cannot be written.
    """
    path = as_path(path, "an image's path")
    check_image(image)
    try:
        coded, data = cv2.imencode(path.suffix, image)
    except cv2.error:
        coded = False
    if not coded:
        raise InputError(f"{path}: this image format is unknown: use a name that ends in .jpg or .png")
    write_atomically(path, data.tobytes(), mode=0o666)  # the umask decides who may read a picture


def _thickness(image: NDArray[np.uint8]) -> int:
    """The width of lines in pixels."""
    return max(1, round(min(image.shape[:2]) / 300))


def _label(canvas: NDArray[np.uint8], text: str, x: int, y: int, thick: int) -> None:
    scale = 0.4 * thick + 0.1
    (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    top = max(y - height - base, 0)
    cv2.rectangle(canvas, (x, top), (x + width, top + height + base), BOX, cv2.FILLED)
    cv2.putText(canvas, text, (x, top + height), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), thick, cv2.LINE_AA)


def black_out(image: NDArray[np.uint8], polygons: Sequence[Sequence[Sequence[float]]]) -> NDArray[np.uint8]:
    """Return ``image`` (H×W×3 uint8) with ``polygons`` filled with black: corners x, y as fractions of its width and
    height. Without polygons, the image itself is returned."""
    if not polygons:
        return image
    canvas = image.copy()
    size = np.array([image.shape[1], image.shape[0]])
    for points in polygons:
        cv2.fillPoly(canvas, [np.rint(np.array(points) * size).astype(np.int32)], (0, 0, 0))
    return canvas
