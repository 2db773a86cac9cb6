"""The health of a gallery in use: its samples, what users said about appearances, and the scores of the cameras."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..gallery.gallery import Gallery
from ..gallery.leave_one_out import check_quality
from ..gallery.people import Sample
from ..gallery.quality_report import GalleryQuality
from ..gallery.review_figures import ReviewFigures, count_reviews
from ..gallery.reviews import Review, add_review, list_reviews, read_review_embeddings
from .appearance_log import AppearanceLog
from .current_person import find_current
from .score_drift import CameraDrift, count_by_threshold, describe_drift, find_drift, read_scores

# A reviewed face with such a cosine to a sample has become that sample: it says nothing about other faces.
SAME_FACE = 0.98


@dataclass(frozen=True)
class Replay:
    """Reviewed faces whose embedding is kept, recognized again with the gallery and the threshold of today.

    Attributes:
        faces: Number of these faces; those that have become samples are left out.
        right: How many of them are recognized as the right person, or rightly as nobody.
    """

    faces: int
    right: int


@dataclass(frozen=True)
class GalleryHealth:
    """The result of ``read_gallery_health``.

    Attributes:
        created: When it was computed, in seconds since 1970 (UTC).
        quality: Each sample compared with all others.
        cameras: The scores of each camera, week by week; empty without an appearance log.
        reviews: Measured false and missed matches of each camera and threshold.
        replay: The reviewed faces with the gallery of today.
        problems: A sentence for everything that should be changed.
    """

    created: float
    quality: GalleryQuality
    cameras: tuple[CameraDrift, ...]
    reviews: tuple[ReviewFigures, ...]
    replay: Replay
    problems: tuple[str, ...]


class QualityCheck:
    """``check_quality``, again only if something has changed. One comparison runs at a time, because it takes all cores
    for a while if there are many samples. Thread-safe."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery, self._lock = gallery, threading.Lock()
        self._last: tuple[tuple[int, int, float], GalleryQuality] | None = None

    def __call__(self, threshold: float) -> GalleryQuality:
        with self._lock:
            # Changes of other processes, and of this one.
            state = (self._gallery.version(), self._gallery.database.total_changes, threshold)
            if self._last is None or self._last[0] != state:
                self._last = state, check_quality(self._gallery, threshold)
            return self._last[1]


def read_gallery_health(
    gallery: Gallery, log: AppearanceLog | None, threshold: float, quality: GalleryQuality | None = None
) -> GalleryHealth:
    """How well ``gallery`` tells people apart, if ``threshold`` is the minimum cosine for a match. ``log``: None if
    there is no appearance log. ``quality``: None to compare the samples now. Raises InputError if the gallery is
    encrypted and was opened without its key."""
    now = time.time()
    quality = quality or check_quality(gallery, threshold)
    cameras = find_drift(read_scores(log), now) if log else ()
    reviews = list_reviews(gallery)
    figures = count_reviews(reviews, count_by_threshold(log) if log else Counter())
    drift = (sentence for camera in cameras for sentence in describe_drift(camera))
    problems = (*quality.problems, *drift)
    return GalleryHealth(now, quality, cameras, figures, _replay(gallery, reviews, threshold), problems)


def review_appearance(gallery: Gallery, log: AppearanceLog, appearance: str, person: str | None) -> Review:
    """Store that ``appearance`` was ``person`` (an id; None: nobody who is enrolled), with the embedding of the face if
    the log has it. Raises KeyError if the log has no such appearance, InputError if there is no such person."""
    seen = log.find(appearance)
    if seen is None:
        raise KeyError(appearance)
    # A person who was named by a user afterwards was not recognized by the camera.
    match = None if seen.renamed else seen.match
    current = find_current(gallery, match.person) if match else None
    named = current[0] if current else None
    kept = log.embedding(appearance)
    review = Review(
        appearance=seen.id,
        source=seen.source,
        started=seen.started,
        named=named,
        person=person,
        cosine=match.cosine if match and named else None,
        threshold=seen.threshold,
        quality=seen.quality,
    )
    return add_review(gallery, review, *kept) if kept else add_review(gallery, review)


def logged_sample(gallery: Gallery, log: AppearanceLog, appearance: str) -> Sample | None:
    """The face of ``appearance`` as a sample: its embedding in the log, and its picture if that is kept. None without
    an embedding of the gallery's model."""
    seen, kept = log.find(appearance), log.embedding(appearance)
    if seen is None or kept is None or kept[1] != gallery.identity:
        return None
    return Sample(kept[0], log.face(appearance), seen.quality, seen.source)


def limit_people(health: GalleryHealth, most: int) -> GalleryHealth:
    """``health`` with the ``most`` people only who are nearest to others."""
    return replace(health, quality=replace(health.quality, people=health.quality.people[:most]))


def _replay(gallery: Gallery, reviews: Sequence[Review], threshold: float) -> Replay:
    kept = [review for review in reviews if review.embedding]
    vectors = read_review_embeddings(gallery, gallery.identity, [review.appearance for review in kept])
    kept = [review for review in kept if review.appearance in vectors]
    if not kept:
        return Replay(0, 0)
    found = gallery.search(np.stack([vectors[review.appearance] for review in kept]), 1)
    results = []
    for review, matches in zip(kept, found, strict=True):
        match = matches[0] if matches else None
        if match is None or match.cosine < SAME_FACE:
            results.append((match.person if match and match.counts(threshold) else None) == review.person)
    return Replay(len(results), sum(results))
