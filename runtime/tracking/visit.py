"""One person's visit to one camera: its best shots, what they say together, and when that is reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..gallery.match import Match
from ..vision.embed import unit
from .appearance import Appearance
from .rules import EARLY, RecognitionRules


@dataclass(frozen=True, eq=False)
class Shot:
    """A face of a visit that was embedded.

    embedding  D float32, unit length
    crop       height×width×3 uint8 BGR, aligned
    time       when it was seen, in seconds of the watcher's clock
    box        x1 y1 x2 y2 as shares of the picture's width and height
    score      detection score
    quality    0 to 1
    liveness   0 to 1; None if it was not judged
    """

    embedding: NDArray[np.float32]
    crop: NDArray[np.uint8]
    time: float
    box: tuple[float, float, float, float]
    score: float
    quality: float
    liveness: float | None = None


@dataclass(frozen=True)
class VisitReport:
    """What was last reported of a visit.

    person   id of the person, None for an unknown person
    zones    in which the face was
    quality  of the best shot at that time
    time     when, in seconds of the watcher's clock
    """

    person: str | None
    quality: float
    time: float
    zones: tuple[str, ...] = ()


@dataclass(eq=False)
class Visit:
    """A visit. All times are in seconds of the watcher's clock; ``utc_offset`` added to them gives UTC.

    begun          when the person was first seen
    track          the track that follows the person now, None while the person is out of sight
    seen           when the person was last seen
    frames         number of frames in which the person was seen
    shots          the best shots so far
    fused          D float32, unit length: the mean of their embeddings, weighted by quality
    embedded       number of shots of its track
    last_embedded  when the last shot was embedded
    match          who the gallery says it is
    mixed          its track touches another track, and may switch to another person
    jumped         its track was seen elsewhere than expected, and may have switched to another person
    check          its track was mixed or jumped: the identity must be checked again
    reported       what was last reported; None before the start of the appearance was reported
    ignored        the face is on the ignore list: nothing about it is reported, except the end of what was reported
    zones          names of the zones in which the face was, in the order in which it entered them
    """

    id: str
    source: str
    utc_offset: float
    begun: float
    track: int | None
    seen: float = 0.0
    frames: int = 0
    shots: list[Shot] = field(default_factory=list)
    fused: NDArray[np.float32] | None = None
    embedded: int = 0
    last_embedded: float = 0.0
    match: Match | None = None
    mixed: bool = False
    jumped: bool = False
    check: bool = False
    reported: VisitReport | None = None
    ignored: bool = False
    zones: tuple[str, ...] = ()

    @property
    def best(self) -> Shot:
        """The best shot. Raises ValueError if there is no shot yet."""
        return max(self.shots, key=lambda shot: shot.quality)

    @property
    def liveness(self) -> float | None:
        """The mean liveness of the shots that were judged, weighted by quality like the embeddings. None if no shot was
        judged."""
        judged = [(shot.liveness, shot.quality) for shot in self.shots if shot.liveness is not None]
        weight = sum(quality for _, quality in judged)
        return sum(value * quality for value, quality in judged) / weight if weight else None

    def is_live(self, rules: RecognitionRules) -> bool | None:
        """Return whether the face is live, and not a picture of a face. None if that was not judged."""
        liveness = self.liveness
        return None if liveness is None else liveness >= rules.live

    def reportable_match(self, rules: RecognitionRules) -> Match | None:
        """Return the match that may be reported. Where only live faces are named, it is None until the face was judged
        to be live."""
        return self.match if not rules.need_live or self.is_live(rules) else None

    def add(self, shots: Sequence[Shot], now: float, most: int) -> None:
        """Add ``shots``, which were embedded ``now``. The ``most`` best of all shots are kept."""
        self.embedded += len(shots)
        self.last_embedded = now
        self.shots = sorted([*self.shots, *shots], key=lambda shot: -shot.quality)[:most]
        self.fused = fuse(self.shots)

    def enter(self, zones: Sequence[str]) -> None:
        """Note that the face is in ``zones``."""
        if new := tuple(zone for zone in zones if zone not in self.zones):
            self.zones += new

    def absorb(self, other: Visit, most: int) -> None:
        """Take over the shots, the frames and the track of ``other``, which turned out to be the same visit."""
        self.add(other.shots, other.last_embedded, most)
        self.embedded = other.embedded  # its track is embedded as often as any new track
        self.frames += other.frames
        self.enter(other.zones)
        self.begun, self.seen = min(self.begun, other.begun), max(self.seen, other.seen)
        self.track, self.mixed, self.jumped, self.check = other.track, other.mixed, other.jumped, False

    def is_due(self, now: float, quality: float, waited: float, rules: RecognitionRules) -> bool:
        """Return whether to embed a shot of ``quality``, the best one since the search began ``waited`` seconds ago."""
        if self.check:
            return True
        if not self.shots:
            return quality >= rules.good or waited >= rules.patience
        since = now - self.last_embedded + EARLY
        much_better = quality >= rules.better * self.best.quality
        return since >= (rules.spacing if self.embedded < rules.shots or much_better else rules.later)

    def has_news(self, now: float, rules: RecognitionRules) -> bool:
        """Return whether the start of the appearance, or an update, must be reported."""
        if not self.shots or self.ignored:
            return False
        match = self.reportable_match(rules)
        if self.reported is None:
            late = now - min(shot.time for shot in self.shots) >= rules.decide
            return len(self.shots) >= rules.enough and (match is not None or late)
        better = self.best.quality >= rules.better * self.reported.quality
        changed = _person(match) != self.reported.person or self.zones != self.reported.zones
        return changed or (better and now - self.reported.time >= rules.decide)

    def report(self, now: float, rules: RecognitionRules, ended: bool = False) -> Appearance:
        """Return the appearance as it is now, and note that it was reported."""
        best, match = self.best, self.reportable_match(rules)
        stage: Literal["start", "update", "end"] = "end" if ended else "update" if self.reported else "start"
        self.reported = VisitReport(_person(match), best.quality, now, self.zones)
        return Appearance(
            id=self.id, source=self.source, stage=stage, match=match, threshold=rules.match,
            started=self.begun + self.utc_offset, best=best.time + self.utc_offset,
            ended=self.seen + self.utc_offset if ended else 0.0,
            box=best.box, score=best.score, quality=best.quality, frames=self.frames, liveness=self.liveness,
            live=self.is_live(rules), zones=self.zones,
        )  # fmt: skip


def _person(match: Match | None) -> str | None:
    return match.person if match else None


def fuse(shots: Sequence[Shot]) -> NDArray[np.float32]:
    """Return the mean of the shots' embeddings, weighted by quality, at unit length: D float32."""
    weights = np.array([shot.quality for shot in shots], np.float32)
    return unit(weights @ np.stack([shot.embedding for shot in shots]))


def decide(current: Match | None, found: Sequence[Match], threshold: float, hysteresis: float) -> Match | None:
    """Return who it is, given the nearest people of the gallery (``found``, best first) and the ``current`` match.

    It is nobody if all cosines are below ``threshold``. But a person who was named before keeps the name while the
    cosine is at most ``hysteresis`` below the threshold, and loses it only to a person who reaches the threshold and is
    nearer by ``hysteresis``. For a person with a threshold of their own, the higher one counts; nobody else is named in
    place of a nearest person who does not reach it.
    """
    best = found[0] if found else None
    held = next((match for match in found if current and match.person == current.person), None)
    if best and held and held.cosine >= held.needed(threshold) - hysteresis:
        nearer = best.cosine >= threshold and best.cosine >= held.cosine + hysteresis
        if not nearer:
            return held
    return best if best and best.counts(threshold) else None
