"""Strangers: people without a name, each found as a cluster of appearances with embeddings in the appearance log."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..gallery.anchors import is_ignored
from ..gallery.cluster import EMPTY, cluster
from ..gallery.gallery import Gallery
from ..gallery.match import Match
from ..gallery.people import Sample
from ..vision.embed import unit
from .appearance_log import AppearanceLog
from .sighting import StoredEmbeddings

MOST_SAMPLES = 5  # pictures of a stranger that become samples: more repeat each other
GONE = "this stranger is not in the log any more: list the strangers again"


@dataclass(frozen=True)
class Stranger:
    """Somebody without a name who was seen once or several times.

    id           of the first appearance; every id in ``appearances`` means the same stranger
    times        number of appearances
    started      start of the first one, seconds since 1970
    last         start of the last one
    cameras      their names, sorted
    appearances  ids, newest first
    face         the appearance with the best stored picture; null without a picture
    pictures     number of appearances with a picture: enrollment needs one
    person       somebody of the gallery who is recognized now, for example after enrollment; null if nobody is
    """

    id: str
    times: int
    started: float
    last: float
    cameras: tuple[str, ...]
    appearances: tuple[str, ...]
    face: str | None
    pictures: int
    person: Match | None = None


class StrangerFinder:
    """Finds the strangers in a log. It keeps their embeddings in memory, so that only new ones are compared.

    ``forget`` removes them from memory. Thread-safe."""

    def __init__(self, log: AppearanceLog, gallery: Gallery, identity: str) -> None:
        self._log, self._gallery, self._identity = log, gallery, identity
        self._lock = threading.Lock()
        self._graph, self._labels, self._threshold = EMPTY, np.zeros(0, np.int64), 0.0

    def forget(self) -> None:
        with self._lock:
            self._graph, self._labels = EMPTY, np.zeros(0, np.int64)

    def find(self, threshold: float, least: int = 1) -> list[Stranger]:
        """The strangers who were seen ``least`` times or more, last seen first. ``threshold``: the minimum cosine for a
        match. Without embeddings in the log, the list is empty. Ignored faces are left out."""
        stored, labels = self._read(threshold)
        if not len(stored):
            return []
        order = np.argsort(labels, kind="stable")
        clusters = [one for one in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1) if len(one) >= least]
        if not clusters:
            return []
        means = unit(np.stack([stored.vectors[members].mean(axis=0) for members in clusters]))
        found = [
            _describe(stored, members, matches[0] if matches and matches[0].counts(threshold) else None)
            for members, matches, anchor in zip(
                clusters, self._gallery.search(means), self._gallery.anchor_cosines(means).tolist(), strict=True
            )
            if not is_ignored(matches, anchor, threshold)
        ]
        return sorted(found, key=lambda one: (-one.last, one.id))

    def get(self, id: str, threshold: float) -> Stranger:
        """The stranger with this appearance; also for the start of an id, if it is that of one stranger only. Raises
        InputError."""
        found = [one for one in self.find(threshold) if id and any(each.startswith(id) for each in one.appearances)]
        found = [one for one in found if id in one.appearances] or found
        if len(found) > 1:
            raise InputError(f"the appearances of {len(found)} strangers start with {id!r}: write more of the id")
        if not found:
            raise InputError(GONE)
        return found[0]

    def samples(self, appearances: Sequence[str], *, pictures: bool) -> list[Sample]:
        """Samples of these appearances, best first. ``pictures``: only of those with a stored picture."""
        wanted = set(appearances)
        stored = self._log.embeddings(self._identity)
        places = [place for place, id in enumerate(stored.ids) if id in wanted]
        made = []
        for place in sorted(places, key=lambda one: -float(stored.quality[one])):
            face = self._log.face(stored.ids[place]) if stored.faces[place] else None
            if face is not None or not pictures:
                quality = min(1.0, max(0.0, float(stored.quality[place])))
                made.append(Sample(stored.vectors[place], face, quality, "camera", identity=self._identity))
        return made

    def _read(self, threshold: float) -> tuple[StoredEmbeddings, NDArray[np.int64]]:
        """The embeddings of unknown people, and the cluster of each."""
        stored = self._log.embeddings(self._identity, "")
        with self._lock:
            before = self._graph if threshold == self._threshold else EMPTY
            if before.ids != stored.ids or not np.array_equal(before.vectors, stored.vectors):
                self._graph = before.updated(stored.ids, stored.vectors, threshold)
                self._labels, self._threshold = cluster(self._graph, threshold), threshold
            return stored, self._labels


def choose_samples(samples: Sequence[Sample], most: int) -> list[Sample]:
    """The best of ``samples`` (best first) and those that are least like the chosen ones: greedy k-center (T. F.
    Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985)."""
    if not samples:
        return []
    vectors = np.stack([one.embedding for one in samples])
    chosen = [0]
    nearest = vectors @ vectors[0]
    while len(chosen) < min(most, len(samples)):
        nearest[chosen] = np.inf
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, vectors @ vectors[chosen[-1]])
    return [samples[place] for place in sorted(chosen)]


def _describe(stored: StoredEmbeddings, members: NDArray[np.int64], person: Match | None) -> Stranger:
    ids = [stored.ids[place] for place in members]  # oldest first
    pictured = [place for place in members.tolist() if stored.faces[place]]
    best = max(pictured, key=lambda place: float(stored.quality[place]), default=None)
    return Stranger(
        id=ids[0],
        times=len(ids),
        started=float(stored.started[members[0]]),
        last=float(stored.started[members[-1]]),
        cameras=tuple(sorted({stored.sources[place] for place in members})),
        appearances=tuple(reversed(ids)),
        face=None if best is None else stored.ids[best],
        pictures=len(pictured),
        person=person,
    )
