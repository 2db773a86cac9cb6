"""The open visits to one camera: which track belongs to which, which two are one, and when each is over."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

from ..gallery.match import Match
from .appearance import Appearance
from .track import Tracks
from .visit import RecognitionRules, Shot, Visit, decide


class Visits:
    """Not safe for threads. ``now`` is the watcher's own clock, ``clock`` what it must be given to read UTC.

    begun     appearances that were told
    glimpses  visits that were over before anything could be said of them
    slips     tracks that had slipped from one person to another
    """

    def __init__(self, source: str, rules: RecognitionRules) -> None:
        self.begun = self.glimpses = self.slips = 0
        self._source, self._rules = source, rules
        self._open: dict[str, Visit] = {}
        self._followed: dict[int, Visit] = {}  # by track
        self._ended: list[Visit] = []

    def __len__(self) -> int:
        return len(self._open)

    def of(self, track: int) -> Visit | None:
        """The visit that ``track`` belongs to."""
        return self._followed.get(track)

    def shots(self, id: str) -> tuple[Shot, ...]:
        """The shots of an open visit, or of one whose end was the last news; best first, () for none."""
        found = self._open.get(id) or next((visit for visit in self._ended if visit.id == id), None)
        return tuple(found.shots) if found else ()

    def meet(self, tracks: Tracks, index: int, now: float, clock: float) -> Visit:
        """The visit of the track at ``index``, which was seen ``now``."""
        track = int(tracks.ids[index])
        visit = self._followed.get(track)
        if visit is None:
            visit = self._begin(track, now - float(tracks.ages[index]), now, clock)
            visit.frames = int(tracks.hits[index]) - 1
        visit.frames += 1
        visit.seen = now
        return visit

    def release(self, tracks: Iterable[int]) -> None:
        """These tracks are no more; their visits stay open for a while."""
        for track in tracks:
            visit = self._followed.pop(track, None)
            if visit is not None:
                visit.track = None

    def add(self, track: int, shot: Shot, now: float, clock: float) -> Visit:
        """Give ``shot`` to the visit of its ``track``, or to a new one where it shows someone else."""
        visit = self._followed[track]
        if visit.fused is not None and float(visit.fused @ shot.embedding) < self._rules.other:
            self.slips += 1
            visit.track = None
            visit = self._begin(track, shot.time, now, clock)
        visit.check = False
        visit.add([shot], now, self._rules.shots)
        return visit

    def answer(self, visit: Visit, found: Sequence[Match], now: float) -> None:
        """The gallery's nearest people for ``visit``, best first: who it is, and whether it was here before."""
        visit.match = decide(visit.match, found, self._rules.match, self._rules.hysteresis)
        if visit.announced or visit.embedded < self._rules.enough:
            return
        earlier = self._earlier(visit, now)
        if earlier is not None and visit.track is not None:
            if earlier.track is not None:
                del self._followed[earlier.track]
            del self._open[visit.id]
            earlier.absorb(visit, self._rules.shots)
            earlier.match = earlier.match or visit.match
            self._followed[visit.track] = earlier

    def news(self, now: float) -> list[Appearance]:
        """What is to be told ``now``."""
        self._ended.clear()
        told = [self._tell(visit, now) for visit in self._open.values() if visit.news(now, self._rules)]
        over = [visit for visit in self._open.values() if visit.track is None and now - visit.seen > self._rules.window]
        return [*told, *self._end(over, now)]

    def close(self, now: float) -> list[Appearance]:
        """As ``news``, and the ends of all visits."""
        return [*self.news(now), *self._end(list(self._open.values()), now)]

    def _begin(self, track: int, begun: float, now: float, clock: float) -> Visit:
        visit = Visit(uuid.uuid4().hex, self._source, clock, begun, track, seen=now)
        self._open[visit.id] = self._followed[track] = visit
        return visit

    def _earlier(self, visit: Visit, now: float) -> Visit | None:
        """The visit that is out of sight and most likely the same person's."""
        best, likeness = None, self._rules.match
        for other in self._open.values():
            in_sight = other.track is not None and other.seen == now  # nobody is there twice
            if other is visit or other.fused is None or visit.fused is None or in_sight:
                continue
            if self._rules.need_live and visit.live(self._rules) is not other.live(self._rules):
                continue  # who holds up a picture of somebody that just left does not go on as that one
            same = visit.match.person == other.match.person if visit.match and other.match else None
            cosine = 1.0 if same else -1.0 if same is False else float(visit.fused @ other.fused)
            if cosine >= likeness:
                best, likeness = other, cosine
        return best

    def _tell(self, visit: Visit, now: float, ended: bool = False) -> Appearance:
        self.begun += not visit.announced
        return visit.tell(now, self._rules, ended)

    def _end(self, visits: Sequence[Visit], now: float) -> list[Appearance]:
        told = []
        for visit in visits:
            del self._open[visit.id]
            if not visit.announced:
                if visit.named(self._rules) is None and visit.embedded < self._rules.enough:
                    self.glimpses += 1
                    continue
                told.append(self._tell(visit, now))
            told.append(self._tell(visit, now, ended=True))
            self._ended.append(visit)
        return told
