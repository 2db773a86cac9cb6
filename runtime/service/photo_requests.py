"""Answers about one photo for other programs: its faces, who they are, and whether two photos show one person.

Nothing of a photo is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.faces import Faces
from ..enrollment.measured_photo import describe_flaw, measure_faces
from ..gallery.anchors import NO_ANCHOR, is_ignored
from ..gallery.gallery import Gallery
from ..gallery.match import Match
from ..inference.pipeline import Pipeline
from ..vision.photo import UNSURE, PhotoFaces

Search = Callable[[NDArray[np.float32], int], Sequence[Sequence[Match]]]  # embeddings N×D, people → matches
AnchorCosines = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # embeddings N×D → N
NO_FACE = "no face found, upright, turned or close up"


@dataclass(frozen=True)
class PhotoFace:
    """A face of a photo. Coordinates are pixels of the photo, after it was turned.

    Attributes:
        number: 1, 2, … from the best detection score to the worst.
        box: x1, y1, x2, y2.
        score: Detection score, 0 to 1.
        quality: 0 to 1, as for enrollment.
        landmarks: Left eye, right eye, nose, left and right corner of the mouth.
        flaw: Why this face is too bad to tell who it is; null if it is good enough.
    """

    number: int
    box: tuple[int, int, int, int]
    score: float
    quality: float
    landmarks: tuple[tuple[float, float], ...]
    flaw: str | None


@dataclass(frozen=True)
class IdentifiedFace(PhotoFace):
    """``person`` is who it is: the first of ``matches``, if its cosine reaches the threshold, or the person's own
    one if that is higher, and the face has no flaw; otherwise null. ``matches`` are the most similar people of the
    gallery, whatever their cosine. ``ignored``: the face is on the ignore list, so it is nobody."""

    person: Match | None
    matches: tuple[Match, ...]
    ignored: bool = False


@dataclass(frozen=True)
class DetectedPhoto:
    """``turned``: by how many degrees the photo was turned clockwise; ``width`` and ``height`` are those after it.
    ``reason``: why there is no good face; null if there is one."""

    width: int
    height: int
    turned: int
    faces: tuple[PhotoFace, ...]
    reason: str | None


@dataclass(frozen=True)
class IdentifiedPhoto:
    """As DetectedPhoto. ``threshold`` is the minimum cosine of a match. ``reason``: why nobody was recognized; null if
    somebody was."""

    width: int
    height: int
    turned: int
    threshold: float
    faces: tuple[IdentifiedFace, ...]
    reason: str | None


@dataclass(frozen=True)
class PhotoComparison:
    """Whether the largest faces of two photos show one person. ``same`` and ``cosine`` are null, and ``reason`` says
    why, if one of the photos has no good face. ``first`` and ``second`` are the compared faces."""

    same: bool | None
    cosine: float | None
    threshold: float
    first: PhotoFace | None
    second: PhotoFace | None
    reason: str | None


class PhotoRequests:
    """Answers one request at a time, because all of them use one ``pipeline``. Thread-safe.

    ``threshold`` returns the minimum cosine of a match, for requests that name none: that of the cameras."""

    def __init__(self, pipeline: Pipeline, gallery: Gallery, threshold: Callable[[], float]) -> None:
        self._pipeline, self._gallery, self._threshold = pipeline, gallery, threshold
        self._lock = threading.Lock()

    def detect(self, image: NDArray[np.uint8], *, aligned: bool = False) -> DetectedPhoto:
        """As ``detect_photo``."""
        with self._lock:
            return detect_photo(self._pipeline, image, aligned=aligned)

    def identify(
        self, image: NDArray[np.uint8], *, people: int = 1, threshold: float | None = None, aligned: bool = False
    ) -> IdentifiedPhoto:
        """As ``identify_photo``, with the people and the ignore list of the gallery."""
        with self._lock:
            return identify_photo(
                self._pipeline,
                self._gallery.search,
                image,
                self._threshold() if threshold is None else threshold,
                people=people,
                aligned=aligned,
                anchor_cosines=self._gallery.anchor_cosines,
            )

    def compare(
        self,
        images: tuple[NDArray[np.uint8], NDArray[np.uint8]],
        *,
        threshold: float | None = None,
        aligned: bool = False,
    ) -> PhotoComparison:
        """As ``compare_photos``."""
        least = self._threshold() if threshold is None else threshold
        with self._lock:
            return compare_photos(self._pipeline, images, least, aligned=aligned)


def detect_photo(pipeline: Pipeline, image: NDArray[np.uint8], *, aligned: bool = False) -> DetectedPhoto:
    """The faces in ``image`` (H×W×3 uint8 BGR). ``aligned``: the image is one face, aligned for the recognizer already;
    raises InputError if it has not the size of such a crop."""
    look = _look(pipeline, image, aligned)
    faces, _ = _measure(pipeline, look)
    height, width = look.image.shape[:2]
    return DetectedPhoto(width, height, look.turned, faces, _why_no_good_face(look, faces))


def identify_photo(
    pipeline: Pipeline,
    search: Search,
    image: NDArray[np.uint8],
    threshold: float,
    *,
    people: int = 1,
    aligned: bool = False,
    anchor_cosines: AnchorCosines | None = None,
) -> IdentifiedPhoto:
    """Who is in ``image`` (H×W×3 uint8 BGR).

    threshold  minimum cosine of a match, 0 to 1
    people     the number of most similar people for each face, 1 or more
    aligned    as in ``detect_photo``
    anchor_cosines  ``Gallery.anchor_cosines``; None: nobody is ignored

    Raises InputError as ``detect_photo``.
    """
    look = _look(pipeline, image, aligned)
    measured, crops = _measure(pipeline, look)
    embeddings = pipeline.embed(crops)
    found = search(embeddings, people) if measured else []
    anchors = anchor_cosines(embeddings).tolist() if anchor_cosines and measured else [NO_ANCHOR] * len(measured)
    faces = []
    for face, matches, anchor in zip(measured, found, anchors, strict=True):
        ignored = is_ignored(matches, anchor, threshold)
        sure = not face.flaw and matches and matches[0].counts(threshold) and look.sure
        person = matches[0] if sure else None
        faces.append(IdentifiedFace(**vars(face), person=person, matches=tuple(matches), ignored=ignored))
    reason = None
    if not any(face.person for face in faces):
        reason = _why_no_good_face(look, measured) or _why_unknown(faces, threshold)
    height, width = look.image.shape[:2]
    return IdentifiedPhoto(width, height, look.turned, threshold, tuple(faces), reason)


def compare_photos(
    pipeline: Pipeline, images: tuple[NDArray[np.uint8], NDArray[np.uint8]], threshold: float, *, aligned: bool = False
) -> PhotoComparison:
    """Whether the largest faces of two ``images`` (H×W×3 uint8 BGR) show one person, that is, whether their cosine
    reaches ``threshold``. ``aligned``: as in ``detect_photo``."""
    compared: list[PhotoFace | None] = []
    embeddings, reasons = [], []
    for name, image in zip(("first", "second"), images, strict=True):
        look = _look(pipeline, image, aligned)
        faces, crops = _measure(pipeline, look)
        largest = look.faces.largest() if faces else None
        face = None if largest is None else faces[largest]
        compared.append(face)
        reason = _why_no_good_face(look, (face,) if face else ())
        if reason or largest is None:
            reasons.append(f"the {name} photo: {reason}")
        else:
            embeddings.append(pipeline.embed([crops[largest]])[0])
    if reasons:
        return PhotoComparison(None, None, threshold, compared[0], compared[1], "; ".join(reasons))
    cosine = float(embeddings[0] @ embeddings[1])
    return PhotoComparison(cosine >= threshold, cosine, threshold, compared[0], compared[1], None)


def _look(pipeline: Pipeline, image: NDArray[np.uint8], aligned: bool) -> PhotoFaces:
    """The faces of ``image``; the whole of it, with the template's landmarks, if it is an aligned face."""
    if not aligned:
        return pipeline.detect_photo(image)
    crop, (height, width) = pipeline.crop, image.shape[:2]
    if (width, height) != (crop.width, crop.height):
        raise InputError(
            f"an aligned face for this recognizer has {crop.width}×{crop.height} pixels, not {width}×{height}: "
            "align it with the landmarks of /v1/detect, or send the photo without the field aligned"
        )
    box = np.array([[0, 0, width, height]], np.float32)
    return PhotoFaces(image, Faces(box, np.ones(1, np.float32), np.array([crop.points], np.float32)))


def _measure(pipeline: Pipeline, look: PhotoFaces) -> tuple[tuple[PhotoFace, ...], list[NDArray[np.uint8]]]:
    """The faces of ``look``, and their crops for the recognizer."""
    crops, qualities = measure_faces(pipeline, look.image, look.faces)
    measured = []
    for number, (box, score, points, quality) in enumerate(
        zip(look.faces.boxes, look.faces.scores, look.faces.landmarks, qualities, strict=True), start=1
    ):
        x1, y1, x2, y2 = (round(float(value)) for value in box)
        landmarks = tuple((round(float(x), 1), round(float(y), 1)) for x, y in points)
        flaw = describe_flaw(quality)
        measured.append(PhotoFace(number, (x1, y1, x2, y2), float(score), quality.score, landmarks, flaw))
    return tuple(measured), crops


def _why_no_good_face(look: PhotoFaces, faces: Sequence[PhotoFace]) -> str | None:
    """None if one of ``faces``, which are those of ``look`` or some of them, is good enough."""
    if not faces:
        return NO_FACE
    if not look.sure:
        return UNSURE
    if all(face.flaw for face in faces):
        return "; ".join(f"face {face.number}: {face.flaw}" for face in faces)
    return None


def _why_unknown(faces: Sequence[IdentifiedFace], threshold: float) -> str:
    if any(face.ignored and not face.flaw for face in faces):
        return "this face is on the ignore list"
    found = [face.matches[0] for face in faces if face.matches and not face.flaw]
    if not found:
        return "the gallery is empty: enroll people first"
    best = max(found, key=lambda match: match.cosine)
    return f"unknown: the highest cosine is {best.cosine:.3f}, {best.needed(threshold):.3f} is needed"
