"""The open visits to one camera: which track belongs to which visit, which visits are the same, and when each ends."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence

from ..gallery.anchors import NO_ANCHOR, is_ignored
from ..gallery.match import Match
from .appearance import Appearance
from .rules import RecognitionRules
from .track import Tracks
from .visit import Shot, Visit, decide


class Visits:
    """The open visits. Not thread-safe. ``now`` is in seconds of the watcher's clock; ``utc_offset`` added to it gives
    UTC.

    appearances  number of appearances that were reported
    glimpses     number of visits that ended before anything could be reported, or that are ignored
    slips        number of tracks that switched from one person to another
    """

    def __init__(self, source: str, rules: RecognitionRules) -> None:
        self.appearances = self.glimpses = self.slips = 0
        self._source, self._rules = source, rules
        self._open: dict[str, Visit] = {}
        self._by_track: dict[int, Visit] = {}
        self._ended: list[Visit] = []

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Visit]:
        return iter(list(self._open.values()))

    def of_track(self, track: int) -> Visit | None:
        """Return the visit that ``track`` belongs to."""
        return self._by_track.get(track)

    def shots(self, id: str) -> tuple[Shot, ...]:
        """Return the shots of an open visit, or of a visit whose end was in the last news, best first; () if no shot
        is known."""
        found = self._open.get(id) or next((visit for visit in self._ended if visit.id == id), None)
        return tuple(found.shots) if found else ()

    def note_seen(self, tracks: Tracks, index: int, now: float, utc_offset: float) -> Visit:
        """Note that the track at ``index`` was seen ``now``, and return its visit."""
        track = int(tracks.ids[index])
        visit = self._by_track.get(track)
        if visit is None:
            visit = self._begin(track, now - float(tracks.ages[index]), now, utc_offset)
            visit.frames = int(tracks.hits[index]) - 1
        visit.frames += 1
        visit.seen = now
        return visit

    def release(self, tracks: Iterable[int]) -> None:
        """Note that ``tracks`` ended. Their visits stay open for a while."""
        for track in tracks:
            visit = self._by_track.pop(track, None)
            if visit is not None:
                visit.track = None

    def add(self, track: int, shot: Shot, now: float, utc_offset: float) -> Visit:
        """Add ``shot`` to the visit of ``track``, or to a new visit if it shows another person. Return the visit.

        Where the track has jumped, its place says little, and the shot must reach the threshold of a match. If it was
        the same person all the same, the new visit is joined with this one as soon as a better shot shows that."""
        visit = self._by_track[track]
        least = self._rules.match if visit.jumped else self._rules.other
        if visit.fused is not None and float(visit.fused @ shot.embedding) < least:
            self.slips += 1
            visit.track = None
            visit.frames = max(1, visit.frames - 1)  # the frame of the shot shows the other person
            visit = self._begin(track, shot.time, now, utc_offset)
            visit.frames = 1
        visit.check = visit.jumped = False
        visit.add([shot], now, self._rules.shots)
        return visit

    def name(self, visit: Visit, found: Sequence[Match], anchor_cosine: float = NO_ANCHOR) -> None:
        """Decide who ``visit`` is, from the nearest people of the gallery (``found``, best first), and whether it is
        ignored. ``anchor_cosine``: how similar the nearest face on the ignore list is."""
        visit.match = decide(visit.match, found, self._rules.match, self._rules.hysteresis)
        visit.ignored = is_ignored(found, anchor_cosine, self._rules.match)

    def join_earlier(self, visit: Visit, now: float, *, slow: bool) -> Visit | None:
        """Join ``visit`` with the earlier visit that it continues, and return that one; it must be named again. Return
        None if it continues none. ``slow``: frames are few, so it may never have a second shot of its own."""
        if visit.reported or visit.track is None or visit.fused is None:
            return None
        earlier = self._find_earlier(visit, now, sure=slow or len(visit.shots) >= self._rules.enough)
        if earlier is None:
            return None
        if earlier.track is not None:
            del self._by_track[earlier.track]
        del self._open[visit.id]
        earlier.absorb(visit, self._rules.shots)
        earlier.match = earlier.match or visit.match
        self._by_track[visit.track] = earlier
        return earlier

    def take_news(self, now: float, interval: float = 0.0) -> list[Appearance]:
        """Return the starts, updates and ends that must be reported ``now``. ``interval``: usual seconds between
        frames; nobody is gone before the next frame."""
        self._ended.clear()
        news = [self._report(visit, now) for visit in self._open.values() if visit.has_news(now, self._rules)]
        window = max(self._rules.window, 2 * interval)
        over = [visit for visit in self._open.values() if visit.track is None and now - visit.seen > window]
        return [*news, *self._end(over, now)]

    def close(self, now: float) -> list[Appearance]:
        """End all visits. Return the remaining news and the ends."""
        return [*self.take_news(now), *self._end(list(self._open.values()), now)]

    def _begin(self, track: int, begun: float, now: float, utc_offset: float) -> Visit:
        visit = Visit(uuid.uuid4().hex, self._source, utc_offset, begun, track, seen=now)
        self._open[visit.id] = self._by_track[track] = visit
        return visit

    def _find_earlier(self, visit: Visit, now: float, *, sure: bool) -> Visit | None:
        """Return the visit that is out of sight now and is most likely by the same person, if there is one. Unless
        ``visit`` is ``sure``, it must be a visit of the same person of the gallery."""
        best, highest = None, self._rules.match
        for other in self._open.values():
            in_sight = other.track is not None and other.seen == now  # nobody is in two places at once
            if other is visit or other.fused is None or visit.fused is None or in_sight:
                continue
            if self._rules.need_live and visit.is_live(self._rules) is not other.is_live(self._rules):
                continue  # a picture of a person who just left must not continue that person's visit
            same = visit.match.person == other.match.person if visit.match and other.match else None
            if same is None and not sure:
                continue
            cosine = 1.0 if same else -1.0 if same is False else float(visit.fused @ other.fused)
            if cosine >= highest:
                best, highest = other, cosine
        return best

    def _report(self, visit: Visit, now: float, ended: bool = False) -> Appearance:
        self.appearances += visit.reported is None
        return visit.report(now, self._rules, ended)

    def _end(self, visits: Sequence[Visit], now: float) -> list[Appearance]:
        reports = []
        for visit in visits:
            del self._open[visit.id]
            if visit.reported is None:
                uncertain = visit.reportable_match(self._rules) is None and len(visit.shots) < self._rules.enough
                if uncertain or visit.ignored:
                    self.glimpses += 1
                    continue
                reports.append(self._report(visit, now))
            reports.append(self._report(visit, now, ended=True))
            self._ended.append(visit)
        return reports
