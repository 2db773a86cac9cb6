"""Which crop a recognizer takes: from the catalog or the user, or else from the size of its input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rkface.runtime.core.crop_template import ARCFACE_112, CUSTOM, ORDER, TEMPLATES, CropTemplate, Points
from rkface.runtime.core.errors import InputError, ModelError

# A known template, or five points, whose crop is as large as the model's input.
StatedCrop = CropTemplate | Points


def choose_crop(path: Path, dims: Sequence[int], stated: StatedCrop | None) -> CropTemplate:
    """The crop of the recognizer at ``path``, whose input has the shape ``dims`` (N×3×H×W; 0 for an open side).

    ``stated`` is what the catalog or the user says; with None, the size of the input decides. Raises ModelError if the
    size says nothing, and InputError if it contradicts ``stated``.
    """
    height, width = dims[2:]
    if isinstance(stated, CropTemplate):
        if width not in (0, stated.width) or height not in (0, stated.height):
            raise InputError(
                f"{path}: its input is {width}×{height}, but the crop {stated.name} is {stated.width}×{stated.height}: "
                f"choose another --recognizer-crop ({known_crops()}), or give five points"
            )
        return stated
    if not (width and height):  # an open size: InsightFace's exports leave it open, and take 112×112
        width, height = width or ARCFACE_112.width, height or ARCFACE_112.height
    if stated is not None:
        try:
            return CropTemplate(CUSTOM, width, height, stated)
        except InputError as error:
            raise InputError(f"{path}: --recognizer-crop: {error}") from None
    by_size = [crop for crop in TEMPLATES.values() if (crop.width, crop.height) == (width, height)]
    if not by_size:
        raise ModelError(
            f"{path}: its input is {width}×{height}, and rkface knows the crops {known_crops()}. If this is a face "
            "recognizer, say where the landmarks of a face lie in its crop: --recognizer-crop 'x,y x,y x,y x,y x,y' "
            f"({ORDER}). Otherwise: is this a classifier or a detector?"
        )
    return by_size[0]


def known_crops() -> str:
    """The known templates with their sizes, for a message."""
    return ", ".join(f"{crop.name} ({crop.width}×{crop.height})" for crop in TEMPLATES.values())
