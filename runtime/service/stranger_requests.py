"""What the console, programs and commands ask for about strangers: list, enroll, ignore, and name past appearances."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.errors import InputError
from ..enrollment.enroll import Verdict, enroll_shots
from ..gallery import ignored
from ..gallery.backup import Left
from ..gallery.gallery import Gallery
from ..gallery.people import Sample
from .appearance_log import AppearanceLog
from .renaming import Renaming, list_renamings, rename_past, undo_renaming
from .strangers import GONE, MOST_SAMPLES, Stranger, StrangerFinder, choose_samples


@dataclass(frozen=True)
class StrangerEnrollment:
    """The result of enrolling a stranger. ``renamed``: past appearances that got the name, on request."""

    verdict: Verdict
    renamed: Renaming | None = None


class StrangerRequests:
    """Handles requests about the strangers in ``log``. Thread-safe.

    ``threshold`` returns the minimum cosine for a match. ``lock`` is held while the gallery changes, and ``changed`` is
    called afterwards."""

    def __init__(
        self,
        gallery: Gallery,
        log: AppearanceLog,
        identity: str,
        *,
        threshold: Callable[[], float],
        lock: threading.Lock,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._gallery, self._log, self._identity = gallery, log, identity
        self._threshold, self._lock, self._changed = threshold, lock, changed
        self.finder = StrangerFinder(log, gallery, identity)

    def strangers(self, least: int = 1) -> list[Stranger]:
        return self.finder.find(self._threshold(), least)

    def stranger(self, id: str) -> Stranger:
        return self.finder.get(id, self._threshold())

    def enroll(
        self, id: str, name: str, *, appearances: Sequence[str] = (), force: bool = False, rename: bool = False
    ) -> StrangerEnrollment:
        """Enroll a stranger from the stored pictures of these ``appearances``, or of all. The checks are those of other
        enrollments. ``rename``: also name these appearances. Raises InputError if the stranger is gone."""
        chosen = self._choose(id, appearances)
        with self._lock:
            samples = choose_samples(self.finder.samples(chosen, pictures=True), MOST_SAMPLES)
            if not samples:
                reason = "no picture of this stranger is stored: set [keep] unknown_faces to keep some for a while"
                return StrangerEnrollment(Verdict("refused", name, "camera", reason))
            threshold = self._threshold()
            verdict = enroll_shots(self._gallery, name, samples, "camera", threshold=threshold, force=force)
        self._changed()
        renamed = None
        if rename and verdict.status == "enrolled" and verdict.id is not None:
            renamed = self.rename(verdict.id, chosen)
        return StrangerEnrollment(verdict, renamed)

    def ignore(self, id: str, note: str = "", *, appearances: Sequence[str] = ()) -> ignored.IgnoredFace:
        """Put a stranger on the ignore list, with the embeddings of these ``appearances``, or of all. Raises
        InputError, also if the gallery recognizes one of the faces: cameras would report nothing about that person."""
        chosen = self._choose(id, appearances)
        with self._lock:
            samples = choose_samples(self.finder.samples(chosen, pictures=False), ignored.MOST_FACES)
            self._refuse_known(samples)
            entry = ignored.ignore_face(self._gallery, samples, note)
        self._changed()
        return entry

    def stop_ignoring(self, id: str) -> list[Left]:
        """Delete an entry of the ignore list, here and in backups. Raises InputError."""
        with self._lock:
            try:
                return ignored.stop_ignoring(self._gallery, ignored.find_ignored(self._gallery, id))
            finally:
                self._changed()

    def rename(self, person: str, appearances: Sequence[str] | None = None) -> Renaming | None:
        """Name the person (an id) in past appearances, see ``rename_past``. Raises InputError for an unknown id."""
        known = self._gallery.person(person)
        return rename_past(
            self._log, self._gallery, self._identity, known.id, threshold=self._threshold(), appearances=appearances
        )

    def renamings(self) -> list[Renaming]:
        return list_renamings(self._log)

    def undo(self, id: str) -> int:
        return undo_renaming(self._log, id)

    def _refuse_known(self, samples: Sequence[Sample]) -> None:
        """Raise InputError if a face in ``samples`` is recognized."""
        found = self._gallery.search(np.stack([sample.embedding for sample in samples])) if samples else []
        known = [matches[0] for matches in found if matches and matches[0].counts(self._threshold())]
        if known:
            raise InputError(
                f"this face is recognized as {known[0].name!r} (cosine {known[0].cosine:.3f}), and a person of the "
                "gallery cannot be ignored: if it is somebody else, say of each appearance that it was nobody who is "
                "enrolled, and ignore the face together with that answer"
            )

    def _choose(self, id: str, appearances: Sequence[str]) -> Sequence[str]:
        """The appearances of the stranger ``id`` that are among ``appearances``; all without any. Raises InputError."""
        stranger = self.stranger(id)
        if unknown := set(appearances) - set(stranger.appearances):
            raise InputError(f"{GONE} (the appearance {min(unknown)[:32]!r} is not one of this stranger)")
        return tuple(one for one in stranger.appearances if not appearances or one in appearances)
