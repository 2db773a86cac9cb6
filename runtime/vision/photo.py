"""Faces in a photo, which may be a close-up and may lie on its side: a look, and more looks where one is not enough.

A frame of a camera gets one look (``Detector.detect``). The detector was trained on upright faces with some picture
around them. It misses a face that fills the picture, and finds faces that are upside down, but then puts the landmarks
of the eyes on the mouth: the embedding is that of nobody. `tests/bench/photo_looks.py` measures both.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..core.faces import Faces
from ..core.turns import TURNS, Turn
from .detect import suppress
from .detector_shapes import AnyDetector
from .quality import roll_of

ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}

UPRIGHT = 45.0  # degrees of roll: of the four turns of a photo, one brings a face below
INSIDE = 0.6  # share of a face that lies in another, better one: it is a part of that face


@dataclass(frozen=True, eq=False)
class PhotoFaces:
    """The faces of a photo, and the photo turned the right way up.

    Attributes:
        image: H×W×3 uint8, BGR. The photo, turned by ``turned``.
        faces: The faces in pixels of ``image``, best score first.
        turned: By how many degrees the photo was turned clockwise: 0, 90, 180 or 270.
        sure: False if another turn of the photo shows a face nearly as well, so that ``turned`` may be wrong. The
            embeddings of a face that is the wrong way up are useless.
        again: True if some face is found only by an additional look at ``image``, with a margin: a close-up.
    """

    image: NDArray[np.uint8]
    faces: Faces
    turned: Turn = 0
    sure: bool = True
    again: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about the turn, in sentences."""
        turned = (f"the photo was turned by {self.turned}°",) if self.turned else ()
        return turned if self.sure else (*turned, UNSURE)


UNSURE = "it is not clear which way up the photo is: turn it the right way up and save it"


def find_faces(detector: AnyDetector, image: NDArray[np.uint8], threshold: float) -> PhotoFaces:
    """The faces in the photo ``image`` (H×W×3 uint8 BGR) with a score of ``threshold`` or more.

    A face that is plainly upright ends the search: then this costs no more than ``Detector.detect``. Otherwise the
    three other turns of the photo are tried, and the one whose best upright face has the best score is taken.
    """
    faces, more = _look_again(detector, image, threshold)
    best = {0: _best_score(faces)}
    if best[0] >= detector.family.plain:
        return PhotoFaces(image, faces, again=more)
    found, again = {0: faces}, {0: more}
    for turn in TURNS[1:]:
        turned, again[turn] = _look_again(detector, turn_image(image, turn), threshold)
        found[turn] = turned[turned.scores >= _least_again(detector, threshold)]
        best[turn] = _best_score(found[turn])
    leading = max(TURNS, key=lambda turn: best[turn])
    clear = detector.family.clear
    chosen: Turn = leading if best[leading] - best[0] >= clear else 0
    rival = max(best[turn] for turn in TURNS if turn != chosen)
    sure = rival == 0 or best[chosen] - rival >= clear
    more = again[chosen] and len(found[chosen]) > 0
    return PhotoFaces(turn_image(image, chosen), found[chosen], chosen, sure, more)


def look_twice(detector: AnyDetector, image: NDArray[np.uint8], threshold: float) -> Faces:
    """The faces in ``image`` (H×W×3 uint8 BGR). If no face is found, or the largest touches the border, the image is
    searched again with a gray margin, in which a face that fills the image is found."""
    return _look_again(detector, image, threshold)[0]


def turn_image(image: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """``image`` (H×W×3 uint8), turned clockwise by ``turn``: 0, 90, 180 or 270 degrees."""
    return np.asarray(cv2.rotate(image, ROTATIONS[turn]), np.uint8) if turn else image


def _look_again(detector: AnyDetector, image: NDArray[np.uint8], threshold: float) -> tuple[Faces, bool]:
    """What ``look_twice`` finds, and whether some face is found only with the margin."""
    first = detector.detect(image, threshold)
    if len(first) and not _touches_border(first.boxes[first.largest()], image):
        return first, False
    margin = detector.detect_with_margin(image, threshold)
    faces = _merge(first, margin[margin.scores >= _least_again(detector, threshold)], detector)
    boxes = np.concatenate([first.boxes, faces.boxes]).tolist()
    return faces, len(suppress(boxes, detector.nms_iou)) > len(first)


def _least_again(detector: AnyDetector, threshold: float) -> float:
    """The minimum score of a face that only an additional look finds. A high ``threshold`` must not make it
    unreachable."""
    return min(threshold + detector.family.again, detector.family.plain)


def _best_score(faces: Faces) -> float:
    """The best score of the upright ``faces``, 0 without any."""
    return max(_upright_scores(faces), default=0.0)


def _upright_scores(faces: Faces) -> list[float]:
    """The score of each face that is upright, 0 for the others."""
    return [
        float(score) if _upright(points) else 0.0 for score, points in zip(faces.scores, faces.landmarks, strict=True)
    ]


def _upright(landmarks: NDArray[np.float32]) -> bool:
    return abs(roll_of(landmarks)) <= UPRIGHT


def _touches_border(box: NDArray[np.float32], image: NDArray[np.uint8]) -> bool:
    x1, y1, x2, y2 = box.tolist()
    return bool(min(x1, y1) <= 0 or x2 >= image.shape[1] - 1 or y2 >= image.shape[0] - 1)


def _merge(first: Faces, second: Faces, detector: AnyDetector) -> Faces:
    """The faces of both, each once, best score first. A part of a face that is found as a face of its own, such as an
    eye of a face that fills the image, is left out. A face that ``first`` shows plainly stays as it is there, to the
    bit: its embedding is then the one that a single look at a frame gives."""
    if not len(first) or not len(second):
        return first if len(first) else second
    both = Faces(*(np.concatenate(pair) for pair in zip(_arrays(first), _arrays(second), strict=True)))
    plain = np.array([score >= detector.family.plain for score in _upright_scores(first)] + [False] * len(second))
    both = both[np.lexsort((-both.scores, ~plain))]
    both = both[np.array(suppress(both.boxes.tolist(), detector.nms_iou), np.intp)]
    both = both[np.argsort(-both.scores, kind="stable")]
    kept: list[int] = []
    for index, box in enumerate(both.boxes):
        if not any(_share_inside(box, both.boxes[other]) >= INSIDE for other in kept):
            kept.append(index)
    return both[np.array(kept, np.intp)]


def _arrays(faces: Faces) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    return faces.boxes, faces.scores, faces.landmarks


def _share_inside(box: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The share of the smaller box that lies in the larger one."""
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    areas = (float(np.prod(one[2:] - one[:2])) for one in (box, other))
    return float(np.prod(np.maximum(sides, 0))) / max(min(areas), 1.0)
