"""Recognizes the people in front of one camera: embeds their best faces, judges liveness, and searches the gallery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from logging import getLogger

import numpy as np
from numpy.typing import NDArray

from ..core.errors import RkfaceError
from ..gallery.anchors import NO_ANCHOR
from ..gallery.match import Match
from ..inference.pipeline import Pipeline
from ..vision.liveness import LivenessModel
from .best_shot import BestShots, Candidate
from .frame_clock import FrameClock
from .rules import RecognitionRules
from .visit import Shot, Visit
from .visits import Visits
from .zones import WatchedArea

Search = Callable[[NDArray[np.float32], int], Sequence[Sequence[Match]]]  # N×D unit vectors, k → the k nearest people
AnchorCosines = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # N×D unit vectors → N, see Gallery.anchor_cosines

SLOW_BATCHES = 4  # so many times ``RecognitionRules.batch`` faces are embedded per frame where frames are few
PEOPLE = 3  # nearest people to request from the gallery: a named person who falls behind two others loses the name

log = getLogger("rkface.watch")


@dataclass(frozen=True, eq=False)
class _Due:
    """A candidate whose turn to be embedded has come, with its visit and track."""

    visit: Visit
    track: int
    candidate: Candidate


class FaceRecognition:
    """Recognizes the people of ``visits`` by ``best_shots``, the best faces of their tracks. Not thread-safe.

    Only some faces of a track are embedded: the first good one, then the best one of each ``spacing`` seconds until
    there are ``shots`` of them, then one in ``later`` seconds. A much better face is embedded early, and so is the
    first face after the track touched another track, or jumped, and may have switched. The faces of one frame are
    embedded together, so that they spread over the NPU's cores. This happens in the thread of the caller: there are so
    few of them that another thread would gain nothing, and the scheduler continues to detect meanwhile.

    Times are those of ``clock``. ``search``, ``anchor_cosines`` and ``liveness``: as in ``Watcher``.

    embeddings  faces embedded
    failures    frames whose faces could not be embedded
    unjudged    frames whose faces were embedded, but whose liveness could not be judged
    """

    def __init__(
        self,
        source: str,
        pipeline: Pipeline,
        search: Search,
        rules: RecognitionRules,
        *,
        clock: FrameClock,
        visits: Visits,
        best_shots: BestShots,
        anchor_cosines: AnchorCosines | None,
        liveness: LivenessModel | None,
    ) -> None:
        self.embeddings = self.failures = self.unjudged = 0
        self._source, self._pipeline, self._rules = source, pipeline, rules
        self._search, self._anchor_cosines, self._liveness = search, anchor_cosines, liveness
        self._clock, self._visits, self._best_shots = clock, visits, best_shots

    def embed_due(self, area: WatchedArea, *, slow: bool) -> None:
        """Embed the candidates whose turn has come, and name their visits. ``area``: new visits enter its zones.
        ``slow``: frames are few."""
        due = self._find_due(slow)
        if not due:
            return
        candidates = [each.candidate for each in due]
        try:
            vectors = self._pipeline.embed([candidate.crop for candidate in candidates])
        except RkfaceError as error:  # the candidates stay, and are embedded with the next frame
            self.failures += 1
            log.warning("%s: %d faces could not be embedded: %s", self._source or "camera", len(due), error)
            return
        self.embeddings += len(due)
        touched = []
        for each, vector, liveness in zip(due, vectors, self._judge_liveness(candidates), strict=True):
            one = each.candidate
            self._best_shots.drop(each.track)
            shot = Shot(vector, one.crop, one.time, one.box, one.score, one.quality, liveness)
            visit = self._visits.add(each.track, shot, self._clock.now, self._clock.utc_offset)
            if area.zones and not visit.zones:  # a new visit: the shot shows another person
                visit.enter(*area.zones_of(np.array([one.box])))
            touched.append(visit)
        self.name(touched)
        joined = [self._visits.join_earlier(visit, self._clock.now, slow=slow) for visit in touched]
        self.name([earlier for earlier in joined if earlier is not None])

    def name(self, visits: Sequence[Visit]) -> None:
        """Search the gallery for the people of those ``visits`` that have an embedding."""
        embedded = [(visit, visit.fused) for visit in visits if visit.fused is not None]
        if not embedded:
            return
        probes = np.stack([fused for _, fused in embedded])
        found = self._search(probes, PEOPLE)
        anchors = [NO_ANCHOR] * len(probes) if self._anchor_cosines is None else self._anchor_cosines(probes).tolist()
        for (visit, _), matches, anchor in zip(embedded, found, anchors, strict=True):
            self._visits.name(visit, matches, anchor)

    def _find_due(self, slow: bool) -> list[_Due]:
        """Return the candidates to embed now: first those whose visit has no embedding yet, then those whose last
        embedding is oldest. If frames are few (``slow``), none waits for a better face or for its turn in the next
        frame: they may not be seen in it."""
        now = self._clock.now
        due = [
            _Due(visit, track, one)
            for track, one in self._best_shots
            if (visit := self._visits.of_track(track))
            and visit.is_due(now, one.quality, np.inf if slow else now - one.since, self._rules)
        ]
        due.sort(key=lambda each: (each.visit.embedded > 0, each.visit.last_embedded, -each.candidate.quality))
        return due[: self._rules.batch * (SLOW_BATCHES if slow else 1)]

    def _judge_liveness(self, candidates: Sequence[Candidate]) -> Sequence[float | None]:
        """Return the liveness of each candidate; None without a liveness model. If judging fails, all are None, and the
        faces are recognized all the same."""
        if self._liveness is not None:
            try:
                crops = [one.surroundings for one in candidates if one.surroundings is not None]
                return [float(one) for one in self._liveness.live_probabilities(crops)]
            except RkfaceError as error:
                self.unjudged += 1
                log.warning(
                    "%s: the liveness of %d faces could not be judged: %s",
                    self._source or "camera",
                    len(candidates),
                    error,
                )
        return [None] * len(candidates)
