"""A watcher turns the frames of one camera into appearances: track, choose the best shots, recognize, report."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.faces import Faces
from ..gallery.match import Match
from ..inference.frames import Frame
from ..inference.pipeline import Pipeline
from ..vision.liveness import LivenessModel
from .appearance import Appearance
from .best_shot import BestShots, to_shares
from .frame_clock import FrameClock
from .recognition import AnchorCosines, FaceRecognition, Search
from .rules import RecognitionRules
from .track import REACH, Tracker, Tracks
from .visit import Shot
from .visits import Visits
from .zones import EVERYWHERE, WatchedArea


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


class Watcher:
    """Watches one camera: ``update`` processes its frames in order and returns what must be reported.

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
        self._frames = self._faces = self._ignored = 0
        self._area = area
        self._zones: list[tuple[str, ...]] = []  # of each face in the frame
        self._rules = rules or RecognitionRules.of(pipeline.thresholds)
        self._clock = FrameClock(to_utc, monotonic)
        self._tracker = Tracker(self._rules.sure, self._rules.keep, self._rules.confirm)
        self._tracks: Tracks | None = None
        self._size = (0, 0)
        self._visits = Visits(source, self._rules)
        self._best_shots = BestShots(self._rules, pipeline.align, pipeline.crop, liveness.crop if liveness else None)
        self._recognition = FaceRecognition(
            source,
            pipeline,
            search,
            self._rules,
            clock=self._clock,
            visits=self._visits,
            best_shots=self._best_shots,
            anchor_cosines=anchor_cosines,
            liveness=liveness,
        )
        self._lock = threading.Lock()

    def update(self, frame: Frame, faces: Faces) -> list[Appearance]:
        """Process ``frame``, in which ``faces`` were detected with scores of at least ``rules.doubtful``. Return the
        starts, updates and ends of appearances that follow from it."""
        with self._lock:
            passed = self._clock.note_frame(frame.time)
            now = self._clock.now
            self._frames += 1
            size = (frame.image.shape[1], frame.image.shape[0])
            faces = self._without_ignored(faces, size)
            # Old positions mean nothing in a picture of another size; the visits stay open. A smaller version of the
            # same picture (``Frame.full``) has no faces, and so no positions.
            if size != self._size and frame.full is None:
                self._size = size
                self._release(self._tracker.clear())
            self._tracks = tracks = self._tracker.update(faces, now)
            self._release(tracks.gone)
            self._zones = self._area.zones_of(faces.boxes, *size)
            for index in np.flatnonzero(tracks.confirmed & (tracks.faces >= 0)).tolist():
                self._note_seen(tracks, index, frame.image, faces, passed)
            self._recognition.embed_due(self._area, slow=tracks.slow)
            return self._visits.take_news(now, tracks.interval if tracks.slow else 0.0)

    def tick(self) -> list[Appearance]:
        """Return what must be reported although no frame arrives: the visits to a dead camera end, too. Call it about
        once a second."""
        with self._lock:
            if not self._clock.tick(self._rules.keep):
                return []
            interval = self._tracks.interval if self._tracks and self._tracks.slow else 0.0
            if self._clock.silence <= min(2 * interval, REACH):
                return []  # the next frame of a slow camera may continue its tracks
            self._release(self._tracker.clear())
            self._tracks = None
            return self._visits.take_news(self._clock.now, interval)

    def close(self) -> list[Appearance]:
        """End all visits now, and return their ends."""
        with self._lock:
            self._release(self._tracker.clear())
            self._tracks = None
            return self._visits.close(self._clock.now)

    def watch_area(self, area: WatchedArea) -> None:
        """Use these zones, masks and this minimum size from now on. Visits that last keep the zones that they have."""
        with self._lock:
            self._area = area

    def search_again(self) -> None:
        """Search the gallery again for everybody who is here, because it has changed. The next call of ``update`` or
        ``tick`` reports the difference."""
        with self._lock:
            self._recognition.name(list(self._visits))

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
            embeddings=self._recognition.embeddings,
            failures=self._recognition.failures,
            unjudged=self._recognition.unjudged,
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

    def _release(self, tracks: Iterable[int]) -> None:
        tracks = list(tracks)
        self._visits.release(tracks)
        for track in tracks:
            self._best_shots.drop(track)

    def _note_seen(self, tracks: Tracks, index: int, image: NDArray[np.uint8], faces: Faces, passed: float) -> None:
        """The track at ``index`` was seen, ``passed`` seconds after the frame before: update its visit, and offer its
        face for an embedding."""
        track, face = int(tracks.ids[index]), int(tracks.faces[index])
        visit = self._visits.note_seen(tracks, index, self._clock.now, self._clock.utc_offset)
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
        self._best_shots.offer(track, image, faces[face : face + 1], self._clock.now, overlapped=touching)
