"""Samples of one person from a camera: the best picture of each pose, taken when it is good."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..gallery.people import Sample
from ..inference.pipeline import Pipeline
from .enroll import EnrollOptions, encode
from .guidance import Guidance, Pose, examine

POSES: tuple[Pose, ...] = ("straight", "left", "right")  # the first is what the others are held to
HOLD = 3  # good pictures in a row, of which the best is taken: nobody is caught in passing


class GuidedCapture:
    """``look`` at a camera's pictures in order, until ``pose`` is None; ``samples`` are what was taken so far.

    A face that does not match the first one is not taken: whoever steps in between is not enrolled along.
    """

    def __init__(self, pipeline: Pipeline, source: str, rules: EnrollOptions) -> None:
        """``source`` is what the samples say of themselves; ``rules`` of enrollment: strict and crops."""
        self.samples: list[Sample] = []
        self._pipeline, self._source, self._rules = pipeline, source, rules
        self._row: list[tuple[float, NDArray[np.uint8]]] = []  # quality and crop of good pictures, one after another
        self._strange = False

    @property
    def pose(self) -> Pose | None:
        """The one that is wanted next."""
        return POSES[len(self.samples)] if len(self.samples) < len(POSES) else None

    def look(self, image: NDArray[np.uint8]) -> Guidance:
        """Take ``image`` (H×W×3 uint8 BGR) in, and say what to do for the next one."""
        assert self.pose is not None
        guidance, crop = examine(self._pipeline, image, self.pose, alone=self._rules.strict)
        if crop is None or not guidance.ready:
            self._row.clear()
            return guidance
        self._row.append((guidance.quality, crop))
        if len(self._row) >= HOLD:
            self._strange = not self._take(*max(self._row, key=lambda one: one[0]))
            self._row.clear()
        if self._strange:
            return replace(guidance, ready=False, advice="This is not the face of the first picture.")
        return guidance

    def _take(self, quality: float, crop: NDArray[np.uint8]) -> bool:
        vector = self._pipeline.embed([crop])[0]
        if self.samples and float(vector @ self.samples[0].embedding) < self._pipeline.thresholds.match:
            return False
        kept = encode(crop) if self._rules.crops else None
        self.samples.append(Sample(vector, kept, quality, self._source))
        return True
