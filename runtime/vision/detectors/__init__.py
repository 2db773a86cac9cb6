"""Families of face detectors. A model is recognized by the shapes of its outputs: names and order differ between
exports."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from ...core.errors import ModelError
from .family import SIZE_STEP, STRIDES, Family, Layout, Level, RawOutput, Shape, as_float32, place_faces
from .retinaface import RETINAFACE
from .scrfd import SCRFD
from .yunet import YUNET

if TYPE_CHECKING:
    from ...core.manifest import Output

__all__ = [
    "FAMILIES",
    "NAMES",
    "SIZE_STEP",
    "STRIDES",
    "Family",
    "Layout",
    "Level",
    "RawOutput",
    "as_float32",
    "find_layout",
    "place_faces",
]

FAMILIES: tuple[Family, ...] = (SCRFD, YUNET, RETINAFACE)
NAMES = f"{', '.join(one.name for one in FAMILIES[:-1])} or {FAMILIES[-1].name}"


def find_layout(outputs: Sequence[Output], width: int, height: int) -> Layout:
    """The family whose outputs these are, for an input of ``width``×``height`` pixels, and where its numbers are.

    Further outputs of other shapes are ignored. Raises ModelError if an output of every family is missing or exists
    too often, or if the input size is not a multiple of 32.
    """
    if width % SIZE_STEP or height % SIZE_STEP:
        raise ModelError(f"detector input {width}×{height} must be a multiple of {SIZE_STEP} on both sides")
    places: dict[Shape, list[int]] = {}
    for index, output in enumerate(outputs):
        if len(output.shape) > 1 and (len(output.shape) == 2 or output.shape[0] == 1):
            places.setdefault((prod(output.shape[:-1]), output.shape[-1]), []).append(index)
    for family in FAMILIES:
        if all(len(places.get(shape, ())) == number for shape, number in family.shapes(width, height).items()):
            return Layout(family, family.levels(places, width, height))
    raise ModelError(_explain(outputs, places, width, height))


def _explain(outputs: Sequence[Output], places: dict[Shape, list[int]], width: int, height: int) -> str:
    """Why ``outputs`` are those of no family: what is wrong by the family that has most of them."""

    def wrong(family: Family) -> list[tuple[Shape, int]]:
        return [
            (shape, number)
            for shape, number in family.shapes(width, height).items()
            if len(places.get(shape, ())) != number
        ]

    closest = min(FAMILIES, key=lambda family: len(wrong(family)) / len(family.shapes(width, height)))
    (rows, channels), number = wrong(closest)[0]
    found = len(places.get((rows, channels), ()))
    has = ", ".join("×".join(map(str, output.shape)) or "a number" for output in outputs)
    return (
        f"not a face detector with landmarks that rkface knows ({NAMES}) at {width}×{height}: as {closest.name}, it "
        f"would have {number} output{'s' * (number > 1)} of shape {rows}×{channels}, but it has {found or 'none'}; the "
        f"model has {has}: export it with all outputs of its family, each as anchors × numbers"
    )
