"""What somebody in front of a camera should do so that the picture is a good sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..inference.pipeline import Pipeline
from ..vision.quality import BLURRED, CLIPPED, TEMPLATE_EYES, Quality, measure

READY = 0.6  # quality from which a watcher embeds a first shot at once (visit.Rules.good)
TURNED = 0.12  # of the eye distance that the nose may stand beside the middle of the eyes: about 15° of yaw
TILTED = 0.75  # pose (quality.pose_of) below which a head is turned or tilted too far
LEVEL = 0.6  # and a head that is turned on purpose: 30° of yaw leave 0.77 of it

# Which way a head is turned, to its own left or right, and how far aside the nose may then be (``_aside``): from about
# 15° to 30° of yaw, which a passer-by has and a recognizer still bears well.
Pose = Literal["straight", "left", "right"]
ASIDE: dict[Pose, tuple[float, float]] = {"straight": (-TURNED, TURNED), "left": (0.1, 0.26), "right": (-0.26, -0.1)}


@dataclass(frozen=True)
class Guidance:
    """``advice`` is what to do, for a person to read; ``ready`` whether a picture taken now is a good sample.

    quality  0 to 1; box x1 y1 x2 y2 as shares of the picture, None where no face was found
    """

    ready: bool
    advice: str
    quality: float = 0.0
    box: tuple[float, float, float, float] | None = None


def guide(pipeline: Pipeline, image: NDArray[np.uint8], pose: Pose = "straight") -> Guidance:
    """Look at the largest face in ``image`` (H×W×3 uint8 BGR, from the camera's side: not mirrored), which is to be in
    ``pose``."""
    return examine(pipeline, image, pose)[0]


def examine(
    pipeline: Pipeline, image: NDArray[np.uint8], pose: Pose = "straight", *, alone: bool = False
) -> tuple[Guidance, NDArray[np.uint8] | None]:
    """As ``guide``, with the aligned face, 112×112×3 uint8 BGR; None where there is none. ``alone``: there may be no
    other face."""
    faces = pipeline.detect(image)
    if not len(faces):
        return Guidance(False, "Nobody to be seen: look at the camera."), None
    if alone and len(faces) > 1:
        return Guidance(False, "One at a time: there are others in the picture."), None
    face = faces.largest()
    landmarks = faces.landmarks[face]
    crop = pipeline.align(image, landmarks)
    quality = measure(crop, landmarks, float(faces.scores[face]))
    height, width = image.shape[:2]
    x1, y1, x2, y2 = np.clip(faces.boxes[face] / (width, height, width, height), 0, 1).tolist()
    advice = _advice(landmarks, pose, quality)
    if not advice and quality.score < READY:
        advice = "Hold still, in more light."
    return Guidance(not advice, advice or "Good: hold still.", quality.score, (x1, y1, x2, y2)), crop


def _advice(landmarks: NDArray[Any], wanted: Pose, quality: Quality) -> str:
    """The first thing to mend, "" for nothing: what spoils the other measures comes first."""
    if quality.size < TEMPLATE_EYES:
        return "Come closer."
    aside, (least, most) = _aside(landmarks), ASIDE[wanted]
    # The nose is right of the middle in the picture when the head is turned to its own left.
    if aside > most:
        return "Turn your head a little to your right."
    if aside < least:
        return "Turn your head a little to your left."
    if quality.pose < (TILTED if wanted == "straight" else LEVEL):
        return "Look straight into the camera." if wanted == "straight" else "Keep your head level."
    if quality.exposure < CLIPPED:
        return "Find an evener light: parts of the face are black or white."
    return "Hold still." if quality.sharpness < 2 * BLURRED else ""


def _aside(landmarks: NDArray[Any]) -> float:
    """How far the nose is right of the middle between the eyes, along the line of the eyes, in eye distances."""
    left, right, nose = landmarks[:3]
    along = right - left
    return float((nose - (left + right) / 2) @ along / (along @ along))
