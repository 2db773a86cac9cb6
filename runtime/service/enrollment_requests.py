"""The console's requests about enrollment: enroll a photo, enroll a person of an appearance, guide a person."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from ..enrollment.enroll import EnrollOptions, Verdict, decode_crop, encode_crop, enroll, enroll_shots
from ..enrollment.guidance import Guidance, assess_face
from ..gallery.gallery import Gallery
from ..gallery.people import Sample
from ..inference.pipeline import Pipeline
from .appearance_log import AppearanceLog
from .known_people import KnownPeople
from .watchers import Watchers

SHOTS = 3  # best shots of an appearance that become samples


class EnrollmentRequests:
    """Handles one request at a time, because all of them use one ``pipeline``. Thread-safe.

    ``lock`` is held while a request is handled. Hold it to change the gallery in another way.
    """

    def __init__(
        self, gallery: Gallery, pipeline: Pipeline, people: KnownPeople, watchers: Watchers, log: AppearanceLog
    ) -> None:
        self.lock = threading.Lock()
        self._gallery, self._pipeline = gallery, pipeline
        self._people, self._watchers, self._log = people, watchers, log

    def enroll_photo(self, name: str, image: NDArray[np.uint8], source: str, *, force: bool) -> Verdict:
        """Enroll the largest face in ``image`` (H×W×3 uint8 BGR). ``source`` is stored with the sample."""
        with self.lock:
            verdict = enroll(self._gallery, self._pipeline, name, image, source, rules=EnrollOptions(force=force))
            self._people.add_new()
            return verdict

    def enroll_appearance(self, name: str, appearance: str, threshold: float, *, force: bool) -> Verdict:
        """Enroll the person of an appearance, from its best shots, or from the face in the log.

        ``threshold`` is the minimum cosine at which the person counts as somebody who is enrolled already.
        """
        with self.lock:
            samples = self._samples_of(appearance)
            if not samples:
                return Verdict("refused", name, "camera", "no picture of this appearance is stored any more")
            verdict = enroll_shots(self._gallery, name, samples, "camera", threshold=threshold, force=force)
            self._people.add_new()
            return verdict

    def guide(self, image: NDArray[np.uint8]) -> Guidance:
        """Return what the person in ``image`` (H×W×3 uint8 BGR) should do for a good sample."""
        with self.lock:
            return assess_face(self._pipeline, image).guidance

    def _samples_of(self, appearance: str) -> list[Sample]:
        shots = self._watchers.shots(appearance)[:SHOTS]
        if shots:
            return [Sample(shot.embedding, encode_crop(shot.crop), shot.quality, "camera") for shot in shots]
        stored = self._log.face(appearance)
        crop = decode_crop(stored) if stored else None
        return [] if crop is None else [Sample(self._pipeline.embed([crop])[0], stored, 1.0, "camera")]
