"""What somebody in front of a camera should do so that the picture is a good sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .pipeline import Pipeline
from .quality import BLURRED, CLIPPED, TEMPLATE_EYES, measure

READY = 0.6  # quality from which a watcher embeds a first shot at once (visit.Rules.good)
TURNED = 0.12  # of the eye distance that the nose may stand beside the middle of the eyes: about 15° of yaw
TILTED = 0.75  # pose (quality.pose_of) below which a head is turned or tilted too far


@dataclass(frozen=True)
class Guidance:
    """``advice`` is what to do, for a person to read; ``ready`` whether a picture taken now is a good sample.

    quality  0 to 1; box x1 y1 x2 y2 as shares of the picture, None where no face was found
    """

    ready: bool
    advice: str
    quality: float = 0.0
    box: tuple[float, float, float, float] | None = None


def guide(pipeline: Pipeline, image: NDArray[np.uint8]) -> Guidance:
    """Look at the largest face in ``image`` (H×W×3 uint8 BGR, from the camera's side: not mirrored)."""
    faces = pipeline.detect(image)
    if not len(faces):
        return Guidance(False, "Nobody to be seen: look at the camera.")
    face = faces.largest()
    landmarks = faces.landmarks[face]
    quality = measure(pipeline.align(image, landmarks), landmarks, float(faces.scores[face]))
    height, width = image.shape[:2]
    x1, y1, x2, y2 = np.clip(faces.boxes[face] / (width, height, width, height), 0, 1).tolist()
    advice = _advice(landmarks, quality.size, quality.sharpness, quality.exposure, quality.pose)
    if not advice and quality.score < READY:
        advice = "Hold still, in more light."
    return Guidance(not advice, advice or "Good: hold still.", quality.score, (x1, y1, x2, y2))


def _advice(landmarks: NDArray[Any], size: float, sharpness: float, exposure: float, pose: float) -> str:
    """The first thing to mend, "" for nothing: what spoils the other measures comes first."""
    if size < TEMPLATE_EYES:
        return "Come closer."
    aside = _aside(landmarks)
    if abs(aside) > TURNED:
        # The nose is right of the middle in the picture when the head is turned to its own left.
        return "Turn your head a little to your right." if aside > 0 else "Turn your head a little to your left."
    if pose < TILTED:
        return "Look straight into the camera."
    if exposure < CLIPPED:
        return "Find an evener light: parts of the face are black or white."
    return "Hold still." if sharpness < 2 * BLURRED else ""


def _aside(landmarks: NDArray[Any]) -> float:
    """How far the nose is right of the middle between the eyes, along the line of the eyes, in eye distances."""
    left, right, nose = landmarks[:3]
    along = right - left
    return float((nose - (left + right) / 2) @ along / (along @ along))
