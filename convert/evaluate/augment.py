"""Changed faces to evaluate on: turned, narrow or close as in profiles, blurred, dark, washed out, compressed, masked.

Held-out photos are often of the same kind as the photos that calibrate. Changed faces are further away from these, and
each change is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rkface.calibration.collect import CandidateFace
from rkface.runtime.core.crop_template import CUSTOM, CropTemplate
from rkface.runtime.vision.align import align, similarity
from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.photo import turn_image

Image = NDArray[np.uint8]

# As strong as what cameras and misplaced landmarks do to faces. docs/accuracy.md has FP32's cosines between changed and
# unchanged faces.
ANGLE = 20.0  # degrees: how far a face is turned in its crop, as by misplaced landmarks
NARROW = 0.7  # share of a face's width that is left, as of a head turned to the side by 45°
CLOSE = 0.75  # how far the landmarks are moved together before the crop is aligned, so that it shows less than the face
BLUR = 0.013  # standard deviation of the Gaussian blur, as a share of the crop's width: 1.5 px of 112
GAIN, NOISE = 0.5, 6.0  # a face in the dark: its gray values times GAIN, with the noise of a sensor, in gray values
CONTRAST = 0.5  # a washed-out face: the share of its contrast that is left, around middle gray
MASK = ((0.6, 0.97), (0.2, 0.8))  # rows and columns of the crop that a mask covers, as shares
MASK_COLOR = (200, 190, 170)  # BGR: the light blue of a medical mask
JPEG_QUALITY = 20
SHIFT = 3  # changes by which each round begins later; no divisor of their number, so that no face has one twice
SMALL = 0.3  # scale: 11 px between the eyes of an ArcFace crop, as a face at the other end of a room


@dataclass(frozen=True)
class AugmentedFaces:
    """K changed faces.

    crops    K×h×w×3 uint8 RGB
    origins  K: the index of the face that each was made of; a face may be among them several times
    changes  K: the name of the change
    """

    crops: Image
    origins: tuple[int, ...] = ()
    changes: tuple[str, ...] = ()


def augment_faces(faces: Sequence[CandidateFace], template: CropTemplate, least: int, most: int) -> AugmentedFaces:
    """Changed crops of ``faces``, at most ``most``, aligned as ``template`` says: one of each, or several of each if
    there are fewer than ``least`` faces, with another change each time.

    If there are more than ``most`` faces, they are taken at equal distances. The changes take turns, so that each is as
    frequent as the others. The same faces always give the same crops.
    """
    taken = [int(index) for index in np.linspace(0, len(faces) - 1, min(most, len(faces)))]
    rounds = min(-(-least // max(len(taken), 1)), len(CHANGES))
    origins = (taken * rounds)[:most]
    kinds = list(CHANGES)
    names = [kinds[(place + SHIFT * turn) % len(kinds)] for turn in range(rounds) for place in range(len(taken))]
    names = names[:most]
    crops = np.zeros((len(origins), template.height, template.width, 3), np.uint8)
    for crop, origin, name in zip(crops, origins, names, strict=True):
        crop[:] = CHANGES[name](faces[origin], template)[..., ::-1]
    return AugmentedFaces(crops, tuple(origins), tuple(names))


def turn_face(face: CandidateFace, template: CropTemplate, degrees: float) -> Image:
    """``face`` turned clockwise by ``degrees`` in its crop (h×w×3 uint8 BGR). The corners show the photo."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return _align_changed(face, template, turn)


def _enlarge(face: CandidateFace, template: CropTemplate) -> Image:
    return _align_changed(face, template, CLOSE * np.eye(2))


def _align_changed(face: CandidateFace, template: CropTemplate, change: NDArray[np.float64]) -> Image:
    """``face`` aligned at landmarks that the 2×2 matrix ``change`` moves around their center."""
    landmarks = face.faces.landmarks[0]
    center = landmarks.mean(axis=0)
    return align(_photo(face), (landmarks - center) @ change + center, template)


def _narrow(face: CandidateFace, template: CropTemplate) -> Image:
    width = round(template.width / NARROW)
    points = [(x + (width - template.width) / 2, y) for x, y in template.points]
    wide = CropTemplate(CUSTOM, width, template.height, (points[0], points[1], points[2], points[3], points[4]))
    crop = align(_photo(face), face.faces.landmarks[0], wide)
    narrow = cv2.resize(crop, (template.width, template.height), interpolation=cv2.INTER_AREA).astype(np.uint8)
    matrix = similarity(face.faces.landmarks[0], wide.points)
    landmarks = (face.faces.landmarks[0] @ matrix[:, :2].T + matrix[:, 2]) * (template.width / width, 1)
    return align(narrow, landmarks, template)  # closer, since its landmarks are closer together


def _photo(face: CandidateFace) -> Image:
    return turn_image(read_image(face.photo), face.turned)


def _blur(crop: Image) -> Image:
    return np.asarray(cv2.GaussianBlur(crop, (0, 0), BLUR * crop.shape[1]), np.uint8)


def _darken(crop: Image) -> Image:
    noise = np.random.default_rng(0).normal(0, NOISE, crop.shape)
    return np.clip(np.rint(GAIN * crop + noise), 0, 255).astype(np.uint8)


def _wash_out(crop: Image) -> Image:
    return np.asarray(np.rint(127.5 + CONTRAST * (crop - 127.5)), np.uint8)


def _cover(crop: Image) -> Image:
    covered = crop.copy()
    rows, columns = (
        slice(*(round(share * side) for share in shares)) for shares, side in zip(MASK, crop.shape, strict=False)
    )
    covered[rows, columns] = MASK_COLOR
    return covered


def _compress(crop: Image) -> Image:
    _, data = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def _shrink(crop: Image) -> Image:
    height, width = crop.shape[:2]
    size = max(1, round(SMALL * width)), max(1, round(SMALL * height))
    small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


CHANGES: dict[str, Callable[[CandidateFace, CropTemplate], Image]] = {
    "turned left": lambda face, template: turn_face(face, template, -ANGLE),
    "blurred": lambda face, _: _blur(face.crop),
    "dark": lambda face, _: _darken(face.crop),
    "narrow": _narrow,
    "turned right": lambda face, template: turn_face(face, template, ANGLE),
    "small": lambda face, _: _shrink(face.crop),
    "washed out": lambda face, _: _wash_out(face.crop),
    "close": _enlarge,
    "compressed": lambda face, _: _compress(face.crop),
    "masked": lambda face, _: _cover(face.crop),
}
