"""Checks of images, landmarks and crops that a user passes in. The messages name the mistake and the fix.

The checks look at types and shapes only, so they cost about a microsecond.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..backends import UINT8
from ..core.checks import describe_type
from ..core.errors import InputError
from ..core.faces import Faces

ALIGN_FIRST = "align each face first: [pipeline.align(image, points) for points in faces.landmarks]"


def check_image(image: object) -> None:
    """Raise InputError unless ``image`` is an H×W×3 uint8 array with at least one pixel."""
    if (
        isinstance(image, np.ndarray)
        and image.dtype == UINT8
        and image.ndim == 3
        and image.shape[2] == 3
        and image.size
    ):
        return
    raise InputError(f"an image must be an H×W×3 uint8 array in BGR order: {_image_mistake(image)}")


def check_landmarks(landmarks: object) -> None:
    """Raise InputError unless ``landmarks`` is a 5×2 array of numbers: the landmarks of one face."""
    if isinstance(landmarks, np.ndarray) and landmarks.shape == (5, 2) and landmarks.dtype.kind in "fiu":
        return
    one_face = "pass the landmarks of one face, such as faces.landmarks[0]"
    if isinstance(landmarks, Faces):
        raise InputError(f"landmarks must be a 5×2 array, not a Faces object: {one_face}")
    if isinstance(landmarks, np.ndarray) and landmarks.dtype.kind in "fiu":
        several = landmarks.ndim == 3 and landmarks.shape[1:] == (5, 2)
        count = f": these are the landmarks of {len(landmarks)} faces" if several else ""
        raise InputError(f"landmarks must be a 5×2 array, not {_shape(landmarks)}{count}: {one_face}")
    raise InputError(f"landmarks must be a 5×2 array of numbers, not {describe_type(landmarks)}: {one_face}")


def check_crops(crops: object, shape: tuple[int, int, int]) -> None:
    """Raise InputError unless ``crops`` is a sequence of uint8 arrays of ``shape`` (height, width, 3)."""
    if isinstance(crops, np.ndarray) and crops.shape[1:] == shape and crops.dtype == UINT8:
        return
    side = f"{shape[0]}×{shape[1]}×3 uint8"
    if isinstance(crops, Faces):
        raise InputError(f"embed takes a list of {side} crops, not a Faces object: {ALIGN_FIRST}")
    if isinstance(crops, np.ndarray) and crops.ndim == 3:
        raise InputError(f"embed takes a list of {side} crops, not one array: write embed([crop])")
    if not (isinstance(crops, Sequence) and not isinstance(crops, str | bytes)) and not (
        isinstance(crops, np.ndarray) and crops.ndim == 4
    ):
        raise InputError(f"embed takes a list of {side} crops, not {describe_type(crops)}: {ALIGN_FIRST}")
    for index, crop in enumerate(crops):
        if not (isinstance(crop, np.ndarray) and crop.shape == shape and crop.dtype == UINT8):
            found = f"{_shape(crop)} {crop.dtype}" if isinstance(crop, np.ndarray) else describe_type(crop)
            raise InputError(f"the recognizer takes {side} crops, and crop {index} is {found}: {ALIGN_FIRST}")


def _image_mistake(image: object) -> str:
    if image is None:
        return "this is None: cv2.imread returns None when it cannot read a file; use rkface.read_image, which says why"
    if isinstance(image, str | Path):
        return f"this is the path {str(image)!r}: read it with rkface.read_image"
    if not isinstance(image, np.ndarray):
        return f"this is {describe_type(image)}: convert it with np.asarray"
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        return _shape_mistake(image)
    if image.dtype.kind == "f":
        return (
            f"this one is {image.dtype}: do not normalize images, rkface does that; "
            "convert values of 0 to 1 with (image * 255).astype(np.uint8)"
        )
    return f"this one is {image.dtype}: scale its values to 0 to 255 and convert it with image.astype(np.uint8)"


def _shape_mistake(image: np.ndarray[Any, Any]) -> str:
    first, last = (image.shape[0], image.shape[-1]) if image.ndim == 3 else (0, 0)
    shape = _shape(image)
    if not image.size:
        return f"this one is empty ({shape}): if you cut it out of a photo, check the coordinates"
    if image.ndim == 2 or last == 1:
        return f"this one is gray ({shape}): convert it with cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)"
    if last == 4:
        return f"this one has 4 channels ({shape}): convert it with cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)"
    if first == 3:
        return f"this one has its channels first ({shape}): convert it with image.transpose(1, 2, 0)"
    if image.ndim == 4:
        return f"this is an array of {len(image)} images ({shape}): pass one image at a time"
    return f"this one has the shape {shape}: use rkface.read_image or cv2.imread"


def _shape(array: np.ndarray[Any, Any]) -> str:
    return "×".join(map(str, array.shape)) or "a single number"
