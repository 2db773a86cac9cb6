"""The console's requests about enrollment: enroll a photo, enroll a person of an appearance, guide a person."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from ..enrollment.enroll import EnrollOptions, Verdict, enroll, enroll_shots
from ..enrollment.guidance import Guidance, assess_face
from ..enrollment.stored_crop import decode_crop, encode_crop
from ..gallery.gallery import Gallery
from ..gallery.people import Sample
from ..inference.pipeline import Pipeline
from .appearance_log import AppearanceLog
from .camera_worker import CameraWorker
from .gallery_health import logged_sample
from .known_people import KnownPeople
from .watchers import Watchers

SHOTS = 3  # best shots of an appearance that become samples
OFFERED = 120  # pictures that are kept for the pages that show them: 40 appearances
OFFERED_FOR = 600.0  # seconds


@dataclass(frozen=True)
class OfferedShot:
    """A picture of an appearance that can be enrolled. ``id`` stands for exactly this picture. ``quality``: 0 to 1."""

    id: str
    quality: float


@dataclass(frozen=True, eq=False)
class _Offer:
    """A sample that was offered at this time of the monotonic clock."""

    sample: Sample
    time: float


class EnrollmentRequests:
    """Handles one request at a time, because all of them use one ``pipeline``. Thread-safe.

    ``lock`` is held while a request is handled. Hold it to change the gallery in another way. ``threshold`` returns the
    minimum cosine at which the person of an appearance counts as somebody who is enrolled already.
    """

    def __init__(
        self,
        gallery: Gallery,
        pipeline: Pipeline,
        log: AppearanceLog,
        *,
        workers: Mapping[str, CameraWorker],
        watchers: Watchers,
        people: KnownPeople,
        threshold: Callable[[], float],
    ) -> None:
        self.lock = threading.Lock()
        self._gallery, self._pipeline, self._log = gallery, pipeline, log
        self._workers, self._watchers, self._people, self._threshold = workers, watchers, people, threshold
        self._offered: OrderedDict[tuple[str, str], _Offer] = OrderedDict()  # by appearance and id of the shot

    def enroll_photo(
        self, name: str, image: NDArray[np.uint8], source: str, *, face: int | None = None, force: bool = False
    ) -> Verdict:
        """Enroll a face in ``image`` (H×W×3 uint8 BGR): the one with the number ``face``, or the only one that can be
        meant. ``source`` is stored with the sample."""
        rules = EnrollOptions(force=force, face=face)
        with self.lock:
            verdict = enroll(self._gallery, self._pipeline, name, image, source, rules=rules)
            self._people.add_new()
            return verdict

    def offer_shots(self, appearance: str) -> list[OfferedShot]:
        """The pictures from which this appearance can be enrolled now, best first. They are kept for a while, so that
        what is enrolled is what the user saw, although the appearance goes on and gets better pictures."""
        with self.lock:
            shots = []
            for sample in self._samples_of(appearance):
                shot = OfferedShot(sha256(sample.crop or b"").hexdigest()[:16], sample.quality)
                self._offered[appearance, shot.id] = _Offer(sample, time.monotonic())
                self._offered.move_to_end((appearance, shot.id))
                shots.append(shot)
            while len(self._offered) > OFFERED:
                self._offered.popitem(last=False)
            if shots:
                return shots
            # Of an appearance that has ended, what was offered before can still be enrolled.
            held = [(key, offer) for key, offer in self._offered.items() if key[0] == appearance]
            return [OfferedShot(shot, offer.sample.quality) for (_, shot), offer in held]

    def offered_face(self, appearance: str, shot: str) -> bytes | None:
        """The aligned face of an offered shot as PNG; None if it is not kept any more."""
        offer = self._offered.get((appearance, shot))
        return None if offer is None else offer.sample.crop

    def drop_offers(self, older: float = OFFERED_FOR) -> None:
        """Delete the shots that were offered more than ``older`` seconds ago."""
        until = time.monotonic() - older
        for key in [key for key, offer in list(self._offered.items()) if offer.time <= until]:
            self._offered.pop(key, None)

    def enroll_appearance(
        self, name: str, appearance: str, *, shots: Sequence[str] = (), force: bool = False
    ) -> Verdict:
        """Enroll the person of an appearance: from these ``shots`` that were offered, or, without any, from its best
        ones now or from the face in the log."""
        with self.lock:
            offers = [self._offered.get((appearance, shot)) for shot in shots]
            samples = [offer.sample for offer in offers if offer] if shots else self._samples_of(appearance)
            if len(samples) < len(shots):
                reason = "these pictures are not kept any more: choose the person again"
                return Verdict("refused", name, "camera", reason)
            if not samples:
                return Verdict("refused", name, "camera", "no picture of this appearance is stored any more")
            verdict = enroll_shots(self._gallery, name, samples, "camera", threshold=self._threshold(), force=force)
            self._people.add_new()
            return verdict

    def guide(self, camera: str) -> Guidance:
        """Return what the person in front of ``camera`` should do for a good sample. Raises KeyError if there is no
        such camera."""
        worker = self._workers[camera]
        latest = worker.latest
        if latest is None:
            off = not worker.on
            return Guidance(False, f"The camera {'is switched off' if off else 'has not delivered a picture yet'}.")
        with self.lock:
            pipeline = self._pipeline.near() if latest.frame.near else self._pipeline
            return assess_face(pipeline, latest.frame.image).guidance

    def _samples_of(self, appearance: str) -> list[Sample]:
        shots = self._watchers.shots(appearance)[:SHOTS]
        if shots:
            template = self._pipeline.crop
            return [Sample(shot.embedding, encode_crop(shot.crop, template), shot.quality, "camera") for shot in shots]
        stored = self._log.face(appearance)
        crop = decode_crop(stored, self._pipeline.crop) if stored else None
        if crop is not None:
            return [Sample(self._pipeline.embed([crop])[0], stored, 1.0, "camera")]
        logged = logged_sample(self._gallery, self._log, appearance)
        return [logged] if logged else []
