"""From a camera's frames to appearances: track, gate, embed the best shots, search, and tell what changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger

import numpy as np
from numpy.typing import NDArray

from ..cameras.frame_gate import FrameGate
from ..core.errors import RkfaceError
from ..core.faces import Faces
from ..gallery.match import Match
from ..inference.frames import Frame, Result
from ..inference.pipeline import Pipeline
from ..inference.scheduler import Work
from ..vision.liveness import LivenessModel
from .appearance import Appearance
from .best_shot import Candidate, better, shares
from .track import Tracker, Tracks
from .visit import RecognitionRules, Shot
from .visits import Visits

Search = Callable[[NDArray[np.float32], int], Sequence[Sequence[Match]]]  # N×D unit vectors, k → the k nearest people

PEOPLE = 3  # asked of the gallery: who was named and fell behind two others is not held any more

log = getLogger("rkface.watch")


@dataclass(frozen=True)
class VisibleFace:
    """A face that is followed now, to be drawn: ``box`` x1 y1 x2 y2 as shares of the picture.

    appearance  its id, "" before it is one
    match       None for nobody known, or not yet
    live        False for a picture of a face; None where nothing judges that, or not yet
    """

    box: tuple[float, float, float, float]
    appearance: str
    match: Match | None
    live: bool | None


@dataclass(frozen=True)
class WatchState:
    """Counted since the start, but for ``open``.

    frames       that came
    faces        in them, sure ones
    embeddings   that were made of them
    failures     frames whose faces could not be embedded
    unjudged     frames whose faces were embedded, but whose liveness could not be judged
    appearances  that began
    glimpses     visits that were over before anything could be said of them
    slips        tracks that had slipped from one person to another
    open         visits that last, now
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


class Watcher:
    """What one camera sees. ``step`` takes its frames in order, with the faces found in each, and returns the news.

    ``pipeline`` aligns and embeds, ``search`` is ``Gallery.search``, ``liveness`` judges what is embedded (it is
    ``pipeline.liveness``, or None). Of a track only some faces are embedded: the first
    good one, then the best of each ``spacing`` until there are ``shots``, then one in ``later`` seconds, or when one is
    much better, or when the track touched another and may have slipped. Faces of one frame are embedded at once, so
    that they spread over the NPU's cores, and in the caller's thread: there are so few that a thread of their own would
    gain nothing, while the scheduler goes on detecting. All methods may be called from any thread.
    """

    def __init__(
        self,
        source: str,
        pipeline: Pipeline,
        search: Search,
        rules: RecognitionRules | None = None,
        *,
        liveness: LivenessModel | None = None,
        clock: Callable[[float], float] = lambda moment: moment - time.monotonic() + time.time(),
        beat: Callable[[], float] = time.monotonic,
    ) -> None:
        """``rules`` of None are the defaults with the bundle's thresholds. ``clock`` turns a frame's time into seconds
        since 1970; ``beat`` says how long no frame came."""
        self._frames = self._faces = self._embeddings = self._failures = self._unjudged = 0
        self._source, self._pipeline, self._search, self._liveness = source, pipeline, search, liveness
        self._rules = rules or RecognitionRules.of(pipeline.thresholds)
        self._utc, self._beat = clock, beat
        self._tracker = Tracker(self._rules.sure, self._rules.keep, self._rules.confirm)
        self._tracks: Tracks | None = None
        self._size = (0, 0)
        self._stepped = beat()
        self._last: float | None = None  # the frames' clock
        self._now = 0.0  # ours: seconds that passed, whatever the frames' clock does
        self._visits = Visits(source, self._rules)
        self._candidates: dict[int, Candidate] = {}  # by track
        self._lock = threading.Lock()

    def step(self, frame: Frame, faces: Faces) -> list[Appearance]:
        """What is new after ``frame``, in which ``faces`` were found, down to scores of ``rules.doubtful``."""
        with self._lock:
            self._stepped = self._beat()
            self._pass(frame.time)
            self._frames += 1
            self._faces += int((faces.scores >= self._rules.sure).sum())
            size = (frame.image.shape[1], frame.image.shape[0])
            if size != self._size:  # places in the old picture say nothing about the new one; who it was still does
                self._size = size
                self._release(self._tracker.clear())
            self._tracks = tracks = self._tracker.update(faces, self._now)
            self._release(tracks.gone)
            for index in np.flatnonzero(tracks.confirmed & (tracks.faces >= 0)).tolist():
                self._meet(tracks, index, frame.image, faces)
            self._embed()
            return self._visits.news(self._now)

    def tick(self) -> list[Appearance]:
        """What is new though no frame comes: a dead camera's visits end as well. To be called every second or so."""
        with self._lock:
            silent = self._beat() - self._stepped
            if self._last is None or silent <= self._rules.keep:
                return []
            self._stepped += silent
            self._pass(self._last + silent)
            self._release(self._tracker.clear())
            self._tracks = None
            return self._visits.news(self._now)

    def close(self) -> list[Appearance]:
        """The ends of all visits, now."""
        with self._lock:
            self._release(self._tracker.clear())
            self._tracks = None
            return self._visits.close(self._now)

    @property
    def following(self) -> int:
        """How many faces are followed now."""
        tracks = self._tracks
        return 0 if tracks is None else int(tracks.confirmed.sum())

    def present(self) -> tuple[VisibleFace, ...]:
        """Who is followed now."""
        with self._lock:
            if self._tracks is None:
                return ()
            found = []
            for index in np.flatnonzero(self._tracks.confirmed).tolist():
                visit = self._visits.of(int(self._tracks.ids[index]))
                if visit is not None:
                    box = shares(self._tracks.boxes[index], *self._size)
                    id, rules = visit.id if visit.announced else "", self._rules
                    found.append(VisibleFace(box, id, visit.named(rules), visit.live(rules)))
            return tuple(found)

    @property
    def state(self) -> WatchState:
        """What was counted."""
        visits = self._visits
        return WatchState(
            self._frames,
            self._faces,
            self._embeddings,
            self._failures,
            self._unjudged,
            visits.begun,
            visits.glimpses,
            visits.slips,
            len(visits),
        )

    def shots(self, appearance: str) -> tuple[Shot, ...]:
        """The best shots of a visit that lasts or has just ended, best first; () if there are none. Biometric data."""
        with self._lock:
            return self._visits.shots(appearance)

    def _pass(self, moment: float) -> None:
        if self._last is not None:
            self._now += max(0.0, moment - self._last)
        self._last = moment

    def _release(self, tracks: Iterable[int]) -> None:
        tracks = list(tracks)
        self._visits.release(tracks)
        for track in tracks:
            self._candidates.pop(track, None)

    @property
    def _clock(self) -> float:
        """What is to be added to our clock for UTC."""
        return self._utc(self._last or 0.0) - self._now

    def _meet(self, tracks: Tracks, index: int, image: NDArray[np.uint8], faces: Faces) -> None:
        """The track at ``index`` was seen; its face may be worth an embedding."""
        track, face = int(tracks.ids[index]), int(tracks.faces[index])
        visit = self._visits.meet(tracks, index, self._now, self._clock)
        if tracks.touching[index]:
            visit.mixed = True
        elif visit.mixed:  # the first face that stands alone again says whether it is still the same
            visit.mixed, visit.check = False, bool(visit.shots)
            self._candidates.pop(track, None)
        candidate = better(
            self._candidates.get(track),
            image,
            faces[face : face + 1],
            now=self._now,
            rules=self._rules,
            align=self._pipeline.align,
            overlapped=bool(tracks.touching[index]),
            surroundings=self._liveness.crop if self._liveness else None,
        )
        if candidate:
            self._candidates[track] = candidate

    def _embed(self) -> None:
        """Embed the candidates whose time has come; first those nobody has looked at for longest."""
        now, rules = self._now, self._rules
        due = [
            (visit, track, one)
            for track, one in self._candidates.items()
            if (visit := self._visits.of(track)) and visit.due(now, one.quality, now - one.since, rules)
        ]
        due.sort(key=lambda each: (each[0].embedded > 0, each[0].asked, -each[2].quality))
        due = due[: rules.batch]
        if not due:
            return
        try:
            vectors = self._pipeline.embed([one.crop for _, _, one in due])
        except RkfaceError as error:  # a lost inference; the candidates stay, and are tried again with the next frame
            self._failures += 1
            log.warning("%s: %d faces could not be embedded: %s", self._source or "camera", len(due), error)
            return
        self._embeddings += len(due)
        judged = self._judge([one for _, _, one in due])
        touched = []
        for (_, track, one), vector, liveness in zip(due, vectors, judged, strict=True):
            del self._candidates[track]
            shot = Shot(vector, one.crop, one.time, one.box, one.score, one.quality, liveness)
            touched.append(self._visits.add(track, shot, now, self._clock))
        fused = np.stack([visit.fused for visit in touched if visit.fused is not None])
        for visit, found in zip(touched, self._search(fused, PEOPLE), strict=True):
            self._visits.answer(visit, found, now)

    def _judge(self, seen: Sequence[Candidate]) -> Sequence[float | None]:
        """How live each is; None where nothing judges that, or where it failed: who it is, is known all the same."""
        if self._liveness is not None:
            try:
                crops = [one.around for one in seen if one.around is not None]
                return [float(one) for one in self._liveness.live_probabilities(crops)]
            except RkfaceError as error:
                self._unjudged += 1
                log.warning("%s: liveness of %d faces not judged: %s", self._source or "camera", len(seen), error)
        return [None] * len(seen)


def detecting(rules: RecognitionRules) -> Work:
    """The scheduler's ``work`` for watching: detection alone. The embeddings that are needed come from ``step``."""
    return lambda pipeline, image: pipeline.detect(image, rules.doubtful)


def watch(
    results: Iterable[Result], watchers: Mapping[str, Watcher], paces: Mapping[str, FrameGate] | None = None
) -> Iterator[Appearance]:
    """The appearances in a scheduler's ``results``, by the watcher of each one's source; its pace hears who is there.

    A frame whose work failed is logged and left out. The other sources' visits end on time as well; when no frame comes
    from any camera, call ``tick`` from a timer.
    """
    for result in results:
        frame = result.frame
        if result.faces is None:
            log.warning("%s: frame %d failed: %s", frame.source or "camera", frame.number, result.error)
        else:
            yield from watchers[frame.source].step(frame, result.faces)
            if paces and frame.source in paces:
                paces[frame.source].follow(watchers[frame.source].following)
        for source, watcher in watchers.items():
            if source != frame.source:
                yield from watcher.tick()
