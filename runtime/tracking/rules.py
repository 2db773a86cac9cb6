"""The rules of recognition: which faces are looked at, and when a visit is reported."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.faces import Faces
from ..core.manifest import Thresholds
from ..inference.pipeline import Pipeline

# Seconds by which a frame may be too early for the next shot. Of 15 looks a second, one comes 0.27 s after the first
# shot and the next one after 0.33 s; and the ninth frame of 30 a second comes now before, now after 0.30 s.
EARLY = 0.04


@dataclass(frozen=True)
class RecognitionRules:
    """When a face is embedded, when a visit is reported, and when it ends. docs/camera.md has the reasons.

    match       minimum cosine for a match with a person of the gallery, or between two visits of one person
    hysteresis  a named person keeps the name until the cosine is this far below ``match``, or until another person's
                cosine is this far above
    sure        minimum detection score of a face that starts a track or is embedded
    doubtful    minimum detection score of a face that continues a track; the detector reports all faces above it
    confirm     frames after which a track counts as a face
    keep        seconds that a track lives after its face was last seen
    window      seconds that a visit lives after its track: a person who returns by then was not away
    pose        minimum frontalness (quality.pose_of) of a face that is embedded; 0.4 is turned by 60°
    good        minimum quality at which a first shot is embedded at once
    patience    seconds that the first shot waits for a good one
    spacing     seconds between embeddings of a track, until ``shots`` of them exist; ``EARLY`` less is enough
    shots       embeddings of a track at that rate, and embeddings that are fused: the best ones
    later       seconds between embeddings after that
    better      a shot this many times as good is embedded early, and is reported as an update
    enough      shots before a visit is named, called unknown, or joined with an earlier visit; one is enough to join
                two visits of one person of the gallery, and where frames are few
    decide      seconds from the first shot until a person who is not recognized is reported as unknown
    batch       embeddings per frame, at most; other candidates wait for the next frame
    live        minimum liveness of a live face, if there is a liveness model
    need_live   whether only live faces are named
    """

    match: float
    hysteresis: float = 0.05
    sure: float = 0.5
    doubtful: float = 0.25
    confirm: int = 2
    keep: float = 1.0
    window: float = 15.0
    pose: float = 0.4
    good: float = 0.6
    patience: float = 0.2
    spacing: float = 0.3
    shots: int = 5
    later: float = 5.0
    better: float = 1.25
    enough: int = 2
    decide: float = 1.0
    batch: int = 4
    live: float = 0.5
    need_live: bool = False

    @classmethod
    def of(cls, thresholds: Thresholds) -> RecognitionRules:
        """Return the default rules with the thresholds of a bundle."""
        return cls(thresholds.match, sure=thresholds.detection, doubtful=thresholds.detection / 2)

    @property
    def other(self) -> float:
        """A shot whose cosine to the rest of its visit is below this shows another person: the track switched. It is
        half of ``match``, because a bad shot of the same person can be well below ``match``."""
        return self.match / 2


def detect_for_tracking(pipeline: Pipeline, image: NDArray[np.uint8]) -> Faces:
    """Detect the faces in ``image`` (H×W×3 uint8 BGR), down to the scores that continue a track. Use it as the ``work``
    of a scheduler for ``watch_results``: the watchers make the few embeddings that are needed."""
    return pipeline.detect(image, RecognitionRules.of(pipeline.thresholds).doubtful)
