"""The console's requests about whom the cameras recognized: what users say about appearances, and gallery health."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..gallery.gallery import Gallery
from ..gallery.ignored import ignore_face
from ..gallery.reviews import Review
from .appearance_log import AppearanceLog
from .gallery_health import GalleryHealth, QualityCheck, logged_sample, read_gallery_health, review_appearance


class ReviewRequests:
    """The methods may be called from any thread.

    ``threshold`` returns the minimum cosine for a match. ``lock`` is held while the ignore list changes, and
    ``changed`` is called afterwards."""

    def __init__(
        self,
        gallery: Gallery,
        log: AppearanceLog,
        *,
        threshold: Callable[[], float],
        lock: threading.Lock,
        changed: Callable[[], None],
    ) -> None:
        self._gallery, self._log = gallery, log
        self._threshold, self._lock, self._changed = threshold, lock, changed
        self._check_quality = QualityCheck(gallery)

    def review(self, appearance: str, person: str | None) -> Review:
        """Store who this appearance was: the person with this id; None for nobody who is enrolled. Raises KeyError if
        the log has no such appearance, InputError if there is no such person."""
        return review_appearance(self._gallery, self._log, appearance, person)

    def ignore(self, appearance: str) -> None:
        """Put the face of an appearance on the ignore list. Raises KeyError if the log has no such appearance,
        InputError if its embedding is not stored."""
        if self._log.find(appearance) is None:
            raise KeyError(appearance)
        with self._lock:
            sample = logged_sample(self._gallery, self._log, appearance)
            ignore_face(self._gallery, [sample] if sample else [])
        self._changed()

    def gallery_health(self) -> GalleryHealth:
        """Return how well the gallery tells people apart. Takes long if there are many samples that have changed."""
        threshold = self._threshold()
        return read_gallery_health(self._gallery, self._log, threshold, self._check_quality(threshold))
