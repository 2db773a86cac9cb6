"""Guided capture: the best picture of each pose of a person in front of a camera becomes a sample."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..gallery.people import Sample
from ..inference.pipeline import Pipeline
from .enroll import EnrollOptions
from .guidance import Guidance, Pose, assess_face
from .stored_crop import encode_crop

POSES: tuple[Pose, ...] = ("straight", "left", "right")  # faces in the other poses must match the first
HOLD = 3  # good pictures in a row before the best one is used, so that nobody is enrolled while walking past


@dataclass(frozen=True)
class _GoodPicture:
    quality: float
    crop: NDArray[np.uint8]


class GuidedCapture:
    """Collects a sample of each pose in ``samples``: call ``process`` with each picture until ``pose`` is None.

    A face that does not match the first sample is ignored, so that a second person who steps in is not enrolled too.
    """

    def __init__(self, pipeline: Pipeline, source: str, options: EnrollOptions) -> None:
        """``source``: the source of the samples, such as the camera's name. ``options``: strict and crops are used."""
        self.samples: list[Sample] = []
        self._pipeline, self._source, self._options = pipeline, source, options
        self._good: list[_GoodPicture] = []  # in a row
        self._is_other_person = False

    @property
    def pose(self) -> Pose | None:
        """The pose that is needed next; None when all samples are complete."""
        return POSES[len(self.samples)] if len(self.samples) < len(POSES) else None

    def process(self, image: NDArray[np.uint8]) -> Guidance:
        """Use the next picture, H×W×3 uint8 BGR, and return what the person should do."""
        assert self.pose is not None
        face = assess_face(self._pipeline, image, self.pose, alone=self._options.strict)
        guidance = face.guidance
        if face.crop is None or not guidance.ready:
            self._good.clear()
            return guidance
        self._good.append(_GoodPicture(guidance.quality, face.crop))
        if len(self._good) >= HOLD:
            self._is_other_person = not self._add_sample(max(self._good, key=lambda picture: picture.quality))
            self._good.clear()
        if self._is_other_person:
            return replace(guidance, ready=False, advice="This is a different face than in the first picture.")
        return guidance

    def _add_sample(self, picture: _GoodPicture) -> bool:
        """Returns False if the face does not match the first sample."""
        vector = self._pipeline.embed([picture.crop])[0]
        if self.samples and float(vector @ self.samples[0].embedding) < self._pipeline.thresholds.match:
            return False
        stored = encode_crop(picture.crop, self._pipeline.crop) if self._options.crops else None
        self.samples.append(Sample(vector, stored, picture.quality, self._source))
        return True
