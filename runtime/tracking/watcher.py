"""A watcher turns the frames of one camera into appearances: track, choose the best shots, embed, search, report."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from logging import getLogger

import numpy as np
from numpy.typing import NDArray

from ..core.errors import RkfaceError
from ..core.faces import Faces
from ..gallery.anchors import NO_ANCHOR
from ..gallery.match import Match
from ..inference.frames import Frame
from ..inference.pipeline import Pipeline
from ..vision.liveness import LivenessModel
from .appearance import Appearance
from .best_shot import BestShots, Candidate, to_shares
from .track import REACH, Tracker, Tracks
from .visit import RecognitionRules, Shot, Visit
from .visits import Visits
from .zones import EVERYWHERE, WatchedArea

Search = Callable[[NDArray[np.float32], int], Sequence[Sequence[Match]]]  # N×D unit vectors, k → the k nearest people
AnchorCosines = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # N×D unit vectors → N, see Gallery.anchor_cosines

SLOW_BATCHES = 4  # so many times ``RecognitionRules.batch`` faces are embedded per frame where frames are few
PEOPLE = 3  # nearest people to request from the gallery: a named person who falls behind two others loses the name

log = getLogger("rkface.watch")


@dataclass(frozen=True)
class VisibleFace:
    """A face that is tracked now, for drawing.

    box         x1 y1 x2 y2 as shares of the picture's width and height
    appearance  id of its appearance, "" before the appearance was reported
    match       None for an unknown person, and before the person is recognized
    live        False for a picture of a face; None if that was not judged
    """

    box: tuple[float, float, float, float]
    appearance: str
    match: Match | None
    live: bool | None


@dataclass(frozen=True)
class WatchState:
    """Counts since the watcher was created; only ``open`` is about now.

    frames       frames processed
    faces        sure faces in them, without those that are ignored
    embeddings   faces embedded
    failures     frames whose faces could not be embedded
    unjudged     frames whose faces were embedded, but whose liveness could not be judged
    appearances  appearances that were reported
    glimpses     visits that ended before anything could be reported
    slips        tracks that switched from one person to another
    open         visits that are open now
    ignored      sure faces in masks, and sure faces that are too small
    """

    frames: int
    faces: int
    embeddings: int
    failures: int
    unjudged: int
    appearances: int
    glimpses: int
    slips: int
    open: int
    ignored: int = 0


@dataclass(frozen=True, eq=False)
class _Due:
    """A candidate whose turn to be embedded has come, with its visit and track."""

    visit: Visit
    track: int
    candidate: Candidate


class Watcher:
    """Watches one camera: ``update`` processes its frames in order and returns what must be reported.

    Only some faces of a track are embedded: the first good one, then the best one of each ``spacing`` seconds until
    there are ``shots`` of them, then one in ``later`` seconds. A much better face is embedded early, and so is the
    first face after the track touched another track, or jumped, and may have switched. The faces of one frame are
    embedded together, so that they spread over the NPU's cores. This happens in the thread of the caller: there are so
    few of them that another thread would gain nothing, and the scheduler continues to detect meanwhile.

    All methods may be called from any thread.

    Args:
        source: The name of the camera, for the appearances.
        pipeline: Aligns and embeds faces.
        search: ``Gallery.search``, or a function like it.
        anchor_cosines: ``Gallery.anchor_cosines``, or a function like it. None: nobody is ignored.
        rules: The default is the default rules with the bundle's thresholds.
        liveness: Judges the faces that are embedded: ``pipeline.liveness``, or None.
        area: Zones, and which faces to ignore; ``watch_area`` changes it.
        to_utc: Turns the time of a frame into seconds since 1970.
        monotonic: The clock that measures how long no frame has arrived.
    """

    def __init__(
        self,
        source: str,
        pipeline: Pipeline,
        search: Search,
        rules: RecognitionRules | None = None,
        *,
        anchor_cosines: AnchorCosines | None = None,
        liveness: LivenessModel | None = None,
        area: WatchedArea = EVERYWHERE,
        to_utc: Callable[[float], float] = lambda moment: moment - time.monotonic() + time.time(),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._frames = self._faces = self._embeddings = self._failures = self._unjudged = self._ignored = 0
        self._area = area
        self._zones: list[tuple[str, ...]] = []  # of each face in the frame
        self._source, self._pipeline, self._search, self._liveness = source, pipeline, search, liveness
        self._anchor_cosines = anchor_cosines
        self._rules = rules or RecognitionRules.of(pipeline.thresholds)
        self._to_utc, self._monotonic = to_utc, monotonic
        self._tracker = Tracker(self._rules.sure, self._rules.keep, self._rules.confirm)
        self._tracks: Tracks | None = None
        self._size = (0, 0)
        self._updated = monotonic()
        self._last: float | None = None  # time of the last frame, or tick
        self._framed = 0.0  # the watcher's clock at the last frame
        self._now = 0.0  # the watcher's clock: seconds that passed, even if the clock of the frames jumps
        self._visits = Visits(source, self._rules)
        self._best_shots = BestShots(self._rules, pipeline.align, pipeline.crop, liveness.crop if liveness else None)
        self._lock = threading.Lock()

    def update(self, frame: Frame, faces: Faces) -> list[Appearance]:
        """Process ``frame``, in which ``faces`` were detected with scores of at least ``rules.doubtful``. Return the
        starts, updates and ends of appearances that follow from it."""
        with self._lock:
            self._updated = self._monotonic()
            self._advance_clock(frame.time)
            self._frames += 1
            size = (frame.image.shape[1], frame.image.shape[0])
            faces = self._without_ignored(faces, size)
            # Old positions mean nothing in a picture of another size; the visits stay open. A smaller version of the
            # same picture (``Frame.full``) has no faces, and so no positions.
            if size != self._size and frame.full is None:
                self._size = size
                self._release(self._tracker.clear())
            passed, self._framed = self._now - self._framed, self._now
            self._tracks = tracks = self._tracker.update(faces, self._now)
            self._release(tracks.gone)
            self._zones = self._area.zones_of(faces.boxes, *size)
            for index in np.flatnonzero(tracks.confirmed & (tracks.faces >= 0)).tolist():
                self._note_seen(tracks, index, frame.image, faces, passed)
            self._embed_due(tracks.slow)
            return self._visits.take_news(self._now, tracks.interval if tracks.slow else 0.0)

    def tick(self) -> list[Appearance]:
        """Return what must be reported although no frame arrives: the visits to a dead camera end, too. Call it about
        once a second."""
        with self._lock:
            silent = self._monotonic() - self._updated
            if self._last is None or silent <= self._rules.keep:
                return []
            self._updated += silent
            self._advance_clock(self._last + silent)
            interval = self._tracks.interval if self._tracks and self._tracks.slow else 0.0
            if self._now - self._framed <= min(2 * interval, REACH):
                return []  # the next frame of a slow camera may continue its tracks
            self._release(self._tracker.clear())
            self._tracks = None
            return self._visits.take_news(self._now, interval)

    def close(self) -> list[Appearance]:
        """End all visits now, and return their ends."""
        with self._lock:
            self._release(self._tracker.clear())
            self._tracks = None
            return self._visits.close(self._now)

    def watch_area(self, area: WatchedArea) -> None:
        """Use these zones, masks and this minimum size from now on. Visits that last keep the zones that they have."""
        with self._lock:
            self._area = area

    def search_again(self) -> None:
        """Search the gallery again for everybody who is here, because it has changed. The next call of ``update`` or
        ``tick`` reports the difference."""
        with self._lock:
            self._name([visit for visit in self._visits if visit.fused is not None])

    @property
    def tracked_faces(self) -> int:
        """The number of faces that are tracked now."""
        tracks = self._tracks
        return 0 if tracks is None else int(tracks.confirmed.sum())

    @property
    def new_faces(self) -> int:
        """The number of faces that were seen too rarely to be tracked: some of them are false detections."""
        tracks = self._tracks
        return 0 if tracks is None else int((~tracks.confirmed).sum())

    def visible_faces(self) -> tuple[VisibleFace, ...]:
        """Return the faces that are tracked now."""
        with self._lock:
            if self._tracks is None:
                return ()
            found = []
            for index in np.flatnonzero(self._tracks.confirmed).tolist():
                visit = self._visits.of_track(int(self._tracks.ids[index]))
                if visit is not None:
                    box = to_shares(self._tracks.boxes[index], *self._size)
                    id, rules = visit.id if visit.reported else "", self._rules
                    found.append(VisibleFace(box, id, visit.reportable_match(rules), visit.is_live(rules)))
            return tuple(found)

    @property
    def state(self) -> WatchState:
        """The counts."""
        return WatchState(
            frames=self._frames,
            faces=self._faces,
            embeddings=self._embeddings,
            failures=self._failures,
            unjudged=self._unjudged,
            appearances=self._visits.appearances,
            glimpses=self._visits.glimpses,
            slips=self._visits.slips,
            open=len(self._visits),
            ignored=self._ignored,
        )

    def shots(self, appearance: str) -> tuple[Shot, ...]:
        """Return the best shots of an appearance that lasts or has just ended, best first; () if no shot is known.
        Shots are biometric data."""
        with self._lock:
            return self._visits.shots(appearance)

    def _without_ignored(self, faces: Faces, size: tuple[int, int]) -> Faces:
        sure = int((faces.scores >= self._rules.sure).sum())
        faces = self._area.counted(faces, *size)
        counted = int((faces.scores >= self._rules.sure).sum())
        self._faces += counted
        self._ignored += sure - counted
        return faces

    def _advance_clock(self, moment: float) -> None:
        if self._last is not None:
            self._now += max(0.0, moment - self._last)
        self._last = moment

    def _release(self, tracks: Iterable[int]) -> None:
        tracks = list(tracks)
        self._visits.release(tracks)
        for track in tracks:
            self._best_shots.drop(track)

    @property
    def _utc_offset(self) -> float:
        """Seconds to add to the watcher's clock to get UTC."""
        return self._to_utc(self._last or 0.0) - self._now

    def _note_seen(self, tracks: Tracks, index: int, image: NDArray[np.uint8], faces: Faces, passed: float) -> None:
        """The track at ``index`` was seen, ``passed`` seconds after the frame before: update its visit, and offer its
        face for an embedding."""
        track, face = int(tracks.ids[index]), int(tracks.faces[index])
        visit = self._visits.note_seen(tracks, index, self._now, self._utc_offset)
        if self._area.zones:
            visit.enter(self._zones[face])
        touching, jumped = bool(tracks.touching[index]), bool(tracks.jumped[index])
        visit.jumped |= jumped and bool(visit.shots)
        if touching:
            visit.mixed = True
        # This face, which stands alone, shows whether it is the same person.
        elif visit.mixed or jumped or passed > self._rules.keep:
            visit.mixed, visit.check = False, bool(visit.shots)
            self._best_shots.drop(track)
        self._best_shots.offer(track, image, faces[face : face + 1], self._now, overlapped=touching)

    def _find_due(self, slow: bool) -> list[_Due]:
        """Return the candidates to embed now: first those whose visit has no embedding yet, then those whose last
        embedding is oldest. If frames are few (``slow``), none waits for a better face or for its turn in the next
        frame: they may not be seen in it."""
        due = [
            _Due(visit, track, one)
            for track, one in self._best_shots
            if (visit := self._visits.of_track(track))
            and visit.is_due(self._now, one.quality, np.inf if slow else self._now - one.since, self._rules)
        ]
        due.sort(key=lambda each: (each.visit.embedded > 0, each.visit.last_embedded, -each.candidate.quality))
        return due[: self._rules.batch * (SLOW_BATCHES if slow else 1)]

    def _embed_due(self, slow: bool) -> None:
        due = self._find_due(slow)
        if not due:
            return
        candidates = [each.candidate for each in due]
        try:
            vectors = self._pipeline.embed([candidate.crop for candidate in candidates])
        except RkfaceError as error:  # the candidates stay, and are embedded with the next frame
            self._failures += 1
            log.warning("%s: %d faces could not be embedded: %s", self._source or "camera", len(due), error)
            return
        self._embeddings += len(due)
        touched = []
        for each, vector, liveness in zip(due, vectors, self._judge_liveness(candidates), strict=True):
            one = each.candidate
            self._best_shots.drop(each.track)
            shot = Shot(vector, one.crop, one.time, one.box, one.score, one.quality, liveness)
            visit = self._visits.add(each.track, shot, self._now, self._utc_offset)
            if self._area.zones and not visit.zones:  # a new visit: the shot shows another person
                visit.enter(*self._area.zones_of(np.array([one.box])))
            touched.append(visit)
        self._name(touched)
        joined = [self._visits.join_earlier(visit, self._now, slow=slow) for visit in touched]
        self._name([earlier for earlier in joined if earlier is not None])

    def _name(self, visits: Sequence[Visit]) -> None:
        """Search the gallery for the people of ``visits``."""
        fused = [visit.fused for visit in visits if visit.fused is not None]
        if not fused:
            return
        probes = np.stack(fused)
        found = self._search(probes, PEOPLE)
        anchors = [NO_ANCHOR] * len(probes) if self._anchor_cosines is None else self._anchor_cosines(probes).tolist()
        for visit, matches, anchor in zip(visits, found, anchors, strict=True):
            self._visits.name(visit, matches, anchor)

    def _judge_liveness(self, candidates: Sequence[Candidate]) -> Sequence[float | None]:
        """Return the liveness of each candidate; None without a liveness model. If judging fails, all are None, and the
        faces are recognized all the same."""
        if self._liveness is not None:
            try:
                crops = [one.surroundings for one in candidates if one.surroundings is not None]
                return [float(one) for one in self._liveness.live_probabilities(crops)]
            except RkfaceError as error:
                self._unjudged += 1
                log.warning(
                    "%s: the liveness of %d faces could not be judged: %s",
                    self._source or "camera",
                    len(candidates),
                    error,
                )
        return [None] * len(candidates)
