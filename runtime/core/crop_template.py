"""How a face is aligned for a recognizer: the size of the crop, and where the five landmarks lie in it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError, ModelError

Point = tuple[float, float]
Points = tuple[Point, Point, Point, Point, Point]

SMALLEST, LARGEST = 32, 1024  # pixels of a side: from the smallest crops in the literature to far above the largest
CUSTOM = "custom"  # the name of a template whose points the user gave


@dataclass(frozen=True)
class CropTemplate:
    """The crop of a recognizer: where the landmarks of a face lie after alignment.

    The points are those of the models' training: a recognizer knows faces only as they were cropped there. Raises
    InputError if the crop cannot be that of an upright face.

    name    of a known template, or "custom"
    width   of the crop in pixels, 32 to 1024
    height  likewise
    points  left eye, right eye, nose, left and right mouth corner, as they lie in the image: (x, y) in pixels
    """

    name: str
    width: int
    height: int
    points: Points

    def __post_init__(self) -> None:
        if not (SMALLEST <= self.width <= LARGEST and SMALLEST <= self.height <= LARGEST):
            raise InputError(
                f"a crop of {self.width}×{self.height} pixels: each side must be {SMALLEST} to {LARGEST} pixels"
            )
        if len(self.points) != 5:
            raise InputError(f"a crop has five points, not {len(self.points)}: {ORDER}")
        for x, y in self.points:
            if not (math.isfinite(x) and math.isfinite(y) and 0 <= x <= self.width and 0 <= y <= self.height):
                raise InputError(f"the point {x:g},{y:g} lies outside the crop of {self.width}×{self.height} pixels")
        (left, eye_1), (right, eye_2), _, (mouth_left, mouth_1), (mouth_right, mouth_2) = self.points
        # Alignment turns and scales a face but never mirrors it.
        if right - left < 1 or mouth_right - mouth_left < 1 or min(mouth_1, mouth_2) - max(eye_1, eye_2) < 1:
            raise InputError(f"the five points of the crop are not those of an upright face: {ORDER}")

    @property
    def digest(self) -> str:
        """16 hexadecimal digits for size and points; the name does not matter."""
        text = json.dumps([self.width, self.height, self.points])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def same_crop(self, other: CropTemplate) -> bool:
        """Whether both give the same pixels, whatever their names."""
        return (self.width, self.height, self.points) == (other.width, other.height, other.points)


ORDER = "give left eye, right eye, nose, left and right mouth corner, as they lie in the image, in pixels of the crop"

# InsightFace's ArcFace template for 112×112 (insightface/utils/face_align.py, `arcface_dst`).
ARCFACE: Points = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)

# dlib's average face of 68 points (dlib/image_transforms/interpolation.h, `get_face_chip_details`, Boost license), in
# a square of side 1: those of its points that make our five, by their number among the 68.
DLIB_EYES = (
    ((0.121737, 0.216423), (0.187122, 0.178758), (0.265825, 0.179852),
     (0.334606, 0.231733), (0.260918, 0.245099), (0.182743, 0.244077)),  # 36 to 41
    ((0.645647, 0.231733), (0.714428, 0.179852), (0.793132, 0.178758),
     (0.858516, 0.216423), (0.79751, 0.244077), (0.719335, 0.245099)),  # 42 to 47
)  # fmt: skip
DLIB_NOSE = (0.490127, 0.515625)  # 30: the tip
DLIB_MOUTH = ((0.254149, 0.780233), (0.726104, 0.780233))  # 48 and 54: the corners
DLIB_PADDING = 0.25  # around that square, as a share of its side: what dlib's recognizer was trained with
DLIB_SIDE = 150


def _shifted(points: Points, by: float) -> Points:
    first, second, third, fourth, fifth = ((round(x + by, 6), y) for x, y in points)
    return first, second, third, fourth, fifth


def _dlib_points() -> Points:
    """Our five landmarks in dlib's chip: the center of an eye is the mean of its six points.

    dlib lays the corners of the chip's rectangle on the centers of its first and last pixel (`get_mapping_to_chip`, the
    same file), so the side is one pixel shorter than the chip. With it, embeddings of the same 68 points agree best
    with those of dlib's own chips.
    """
    left, right = ((sum(x for x, _ in eye) / 6, sum(y for _, y in eye) / 6) for eye in DLIB_EYES)
    first, second, third, fourth, fifth = (
        tuple(round((DLIB_PADDING + value) / (1 + 2 * DLIB_PADDING) * (DLIB_SIDE - 1), 4) for value in point)
        for point in (left, right, DLIB_NOSE, *DLIB_MOUTH)
    )
    return _pair(first), _pair(second), _pair(third), _pair(fourth), _pair(fifth)


def _pair(values: Sequence[float]) -> Point:
    x, y = values
    return x, y


ARCFACE_112 = CropTemplate("arcface-112", 112, 112, ARCFACE)
TEMPLATES = {
    template.name: template
    for template in (
        ARCFACE_112,
        # The template that ArcFace's was made from: 8 columns fewer at each side (`arcface_dst` before `+ 8.0`).
        CropTemplate("arcface-112x96", 96, 112, _shifted(ARCFACE, -8.0)),
        # `norm_crop` for multiples of 128: the ArcFace points, 8 pixels further right (the same file).
        CropTemplate("arcface-128", 128, 128, _shifted(ARCFACE, 8.0)),
        CropTemplate("dlib-150", DLIB_SIDE, DLIB_SIDE, _dlib_points()),
    )
}


# What the catalog or the user says about a crop: a known template, or five points, whose crop is as large as the input
# of the model.
StatedCrop = CropTemplate | Points


def read_stated_crop(text: str) -> StatedCrop:
    """``text`` as an option gives it: the name of a known template, or five points. Raises InputError."""
    if text in TEMPLATES:
        return TEMPLATES[text]
    try:
        first, second, third, fourth, fifth = (tuple(map(float, pair.split(","))) for pair in text.split())
        return _pair(first), _pair(second), _pair(third), _pair(fourth), _pair(fifth)
    except ValueError:
        raise InputError(f"must be {known_crops()}, or five points 'x,y x,y x,y x,y x,y' ({ORDER})") from None


def choose_crop(path: Path, width: int | None, height: int | None, stated: StatedCrop | None) -> CropTemplate:
    """The crop of the recognizer at ``path``, whose input has ``width`` and ``height``; None is an open side.

    With ``stated`` None, the size of the input decides. Raises ModelError if it is not that of a known template, and
    InputError if the model contradicts ``stated``.
    """
    if isinstance(stated, CropTemplate):
        if width not in (None, stated.width) or height not in (None, stated.height):
            raise InputError(
                f"{path}: its input is {width or '?'}×{height or '?'}, but the crop {stated.name} is "
                f"{stated.width}×{stated.height}: choose another --recognizer-crop ({known_crops()}), or give five "
                "points"
            )
        return stated
    # InsightFace's exports leave the size open, and take 112×112.
    width, height = width or ARCFACE_112.width, height or ARCFACE_112.height
    if stated is not None:
        try:
            return CropTemplate(CUSTOM, width, height, stated)
        except InputError as error:
            raise InputError(f"{path}: --recognizer-crop: {error}") from None
    for crop in TEMPLATES.values():
        if (crop.width, crop.height) == (width, height):
            return crop
    raise ModelError(
        f"{path}: its input is {width}×{height}, and the crops that rkface knows are {known_crops()}. If this is a "
        "face recognizer, say where the landmarks of a face lie in its crop: --recognizer-crop 'x,y x,y x,y x,y x,y' "
        f"({ORDER}). Otherwise: is this a classifier or a detector?"
    )


def known_crops() -> str:
    """The known templates with their sizes, for a message."""
    return ", ".join(f"{crop.name} ({crop.width}×{crop.height})" for crop in TEMPLATES.values())
