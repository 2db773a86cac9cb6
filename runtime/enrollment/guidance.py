"""What a person in front of a camera should do, so that the picture is a good sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..inference.pipeline import Pipeline
from ..vision.photo import UPRIGHT
from ..vision.quality import BLURRED, CLIPPED, TEMPLATE_EYES, Quality, measure, standard
from .measured_photo import find_large_boxes

READY = 0.6  # minimum quality of a good sample; the watcher embeds a first shot of this quality at once
TURNED = 0.12  # distance of the nose from the middle of the eyes, in eye distances: about 15° of yaw
TILTED = 0.75  # pose (quality.pose_of) below which a head is turned or tilted too far
LEVEL = 0.6  # the same for a head that is turned on purpose: 30° of yaw leave 0.77

# Direction of the head, seen from the person, and the valid positions of the nose (``_nose_offset``). "left" and
# "right" are about 15° to 30° of yaw, which passers-by have too and the recognizer still handles well.
Pose = Literal["straight", "left", "right"]
NOSE_OFFSETS: dict[Pose, tuple[float, float]] = {
    "straight": (-TURNED, TURNED),
    "left": (0.1, 0.26),
    "right": (-0.26, -0.1),
}


@dataclass(frozen=True)
class Guidance:
    """Advice for a person in front of a camera.

    ready    whether a picture taken now is a good sample
    advice   what the person should do, one sentence
    quality  quality of the face, 0 to 1
    box      x1, y1, x2, y2 of the face as shares of the picture, 0 to 1; None if there is no face
    """

    ready: bool
    advice: str
    quality: float = 0.0
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class AssessedFace:
    """The advice for the largest face in a picture, and the aligned face, uint8 BGR (None without a face)."""

    guidance: Guidance
    crop: NDArray[np.uint8] | None = None


def assess_face(
    pipeline: Pipeline, image: NDArray[np.uint8], pose: Pose = "straight", *, alone: bool = False
) -> AssessedFace:
    """Check whether the largest face in ``image`` is a good sample in ``pose``, and what the person should do if not.

    ``image``: H×W×3 uint8 BGR, as the camera sees it (not mirrored). ``alone``: the picture
    must show no other face at all; without it, faces in the background do not matter.
    """
    faces = pipeline.detect(image)
    if not len(faces):
        return AssessedFace(Guidance(False, "No face found. Please look at the camera."))
    if len(faces) > 1 and (alone or len(find_large_boxes(faces.boxes)) > 1):
        return AssessedFace(Guidance(False, "Only one person at a time, please."))
    face = faces.largest()
    landmarks = faces.landmarks[face]
    crop = pipeline.align(image, landmarks)
    shown = standard(image, landmarks, crop, pipeline.crop)
    quality = measure(shown, landmarks, float(faces.scores[face]))
    height, width = image.shape[:2]
    x1, y1, x2, y2 = np.clip(faces.boxes[face] / (width, height, width, height), 0, 1).tolist()
    on_side = abs(quality.roll) > UPRIGHT
    advice = (
        "The picture is on its side: set rotate for this camera." if on_side else give_advice(landmarks, pose, quality)
    )
    if not advice and quality.score < READY:
        advice = "Please hold still, in brighter light."
    return AssessedFace(Guidance(not advice, advice or "Good. Hold still.", quality.score, (x1, y1, x2, y2)), crop)


def give_advice(landmarks: NDArray[Any], pose: Pose, quality: Quality) -> str:
    """The first thing that a person should change so that the face is a good sample in ``pose``, or "". Problems that
    distort the other measurements come first. ``landmarks``: 5×2, pixels."""
    if quality.size < TEMPLATE_EYES:
        return "Please come closer."
    offset, (least, most) = _nose_offset(landmarks), NOSE_OFFSETS[pose]
    # When a person turns the head to their own left, the nose moves to the right in the picture.
    if offset > most:
        return "Turn your head a little to your right."
    if offset < least:
        return "Turn your head a little to your left."
    if quality.pose < (TILTED if pose == "straight" else LEVEL):
        return "Please look straight into the camera." if pose == "straight" else "Please keep your head level."
    if quality.exposure < CLIPPED:
        return "Please find more even light: parts of your face are too dark or too bright."
    return "Please hold still." if quality.sharpness < 2 * BLURRED else ""


def _nose_offset(landmarks: NDArray[Any]) -> float:
    """How far the nose is to the right of the middle between the eyes, along the line of the eyes, in eye distances."""
    left, right, nose = landmarks[:3]
    along = right - left
    return float((nose - (left + right) / 2) @ along / (along @ along))
