"""One person's visit to one camera: its best shots, what they say together, and when that may change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..core.bundle import Thresholds
from ..gallery.match import Match
from ..vision.embed import unit
from .appearance import Appearance


@dataclass(frozen=True)
class RecognitionRules:
    """When a face is looked at, when a visit is spoken of, and when it is over. docs/camera.md has the reasons.

    match       cosine from which a face is someone of the gallery, or two visits are one: the bundle's threshold
    hysteresis  a person once named stays until the cosine is this far below ``match``, or someone else's this far above
    sure        detector's score that begins a track and may be embedded
    doubtful    detector's score that carries a track on; what is asked of the detector
    confirm     frames until a track is a face
    keep        seconds that a track outlives its last sight
    window      seconds that a visit outlives its last track: who is back by then has not been away
    pose        frontalness (quality.pose_of) below which a face is not embedded; 0.4 is turned by 60°
    good        quality from which a first shot is embedded at once
    patience    seconds that the first shot waits for a good one
    spacing     seconds between the embeddings of a track, at first
    shots       so many are embedded at that pace, and fused at most: the best ones
    later       seconds between embeddings after that
    better      how many times as good a shot must be to be embedded out of turn, or to be worth an update
    enough      shots before anybody is named, called unknown, or taken for who was there before
    decide      seconds from the first shot until someone not recognized is called unknown
    batch       embeddings a frame at most; the others wait for the next
    live        liveness from which a visit is that of a live face, where something judges that
    need_live   only who is live is named
    """

    match: float
    hysteresis: float = 0.05
    sure: float = 0.5
    doubtful: float = 0.25
    confirm: int = 2
    keep: float = 1.0
    window: float = 15.0
    pose: float = 0.4
    good: float = 0.6
    patience: float = 0.2
    spacing: float = 0.3
    shots: int = 5
    later: float = 5.0
    better: float = 1.25
    enough: int = 2
    decide: float = 1.0
    batch: int = 4
    live: float = 0.5
    need_live: bool = False

    @classmethod
    def of(cls, thresholds: Thresholds) -> RecognitionRules:
        """The defaults with a bundle's thresholds."""
        return cls(thresholds.match, sure=thresholds.detection, doubtful=thresholds.detection / 2)

    @property
    def other(self) -> float:
        """Cosine to the rest of its visit below which a shot shows someone else, whom the track slipped to: half the
        threshold, since a bad shot of the same person may well miss the whole."""
        return self.match / 2


@dataclass(frozen=True, eq=False)
class Shot:
    """One face of a visit that was embedded.

    embedding  D float32, unit length
    crop       112×112×3 uint8 BGR, aligned
    time       when, in seconds of the watcher's own clock
    box        x1 y1 x2 y2 as shares of the picture's width and height
    score      the detector's
    quality    0 to 1
    liveness   0 to 1, None where nothing judges it
    """

    embedding: NDArray[np.float32]
    crop: NDArray[np.uint8]
    time: float
    box: tuple[float, float, float, float]
    score: float
    quality: float
    liveness: float | None = None


@dataclass(eq=False)
class Visit:
    """``begun`` and ``seen`` in seconds of the watcher's own clock, which reads ``clock`` less than UTC's.

    track     that is following it now, None while it is away
    shots     the best so far
    fused     D float32, unit: their embeddings' mean, weighted by quality
    embedded  how many shots there were of its track, the last one at ``asked``
    told      the match that was told last, and with which quality, at ``spoke``
    mixed     its track touches another one, and may slip to someone else
    check     who it is must be looked at again: its track was mixed
    """

    id: str
    source: str
    clock: float
    begun: float
    track: int | None
    seen: float = 0.0
    frames: int = 0
    shots: list[Shot] = field(default_factory=list)
    fused: NDArray[np.float32] | None = None
    embedded: int = 0
    asked: float = 0.0
    match: Match | None = None
    mixed: bool = False
    check: bool = False
    announced: bool = False
    told: tuple[str | None, float] = (None, 0.0)
    spoke: float = 0.0

    @property
    def best(self) -> Shot:
        """The best shot; ValueError where there is none yet."""
        return max(self.shots, key=lambda shot: shot.quality)

    def live(self, rules: RecognitionRules) -> bool | None:
        """Whether this is no picture of a face; None where nothing could judge it."""
        liveness = self.liveness
        return None if liveness is None else liveness >= rules.live

    def named(self, rules: RecognitionRules) -> Match | None:
        """Who it is, as far as that may be told: where a face has to be live, nobody until it was judged so."""
        return self.match if self.live(rules) or not rules.need_live else None

    @property
    def liveness(self) -> float | None:
        """Mean over the shots that were judged, weighted by quality: the same shots that say who it is."""
        judged = [(shot.liveness, shot.quality) for shot in self.shots if shot.liveness is not None]
        weight = sum(quality for _, quality in judged)
        return sum(value * quality for value, quality in judged) / weight if weight else None

    def add(self, shots: Sequence[Shot], now: float, most: int) -> None:
        """Take in ``shots``, embedded ``now``; of all, the ``most`` best are kept."""
        self.embedded += len(shots)
        self.asked = now
        self.shots = sorted([*self.shots, *shots], key=lambda shot: -shot.quality)[:most]
        self.fused = fuse(self.shots)

    def absorb(self, other: Visit, most: int) -> None:
        """Take over the shots, the sights and the track of ``other``, which was this one all along."""
        self.add(other.shots, other.asked, most)
        self.embedded = other.embedded  # its track is looked at as often as any new one
        self.frames += other.frames
        self.begun, self.seen = min(self.begun, other.begun), max(self.seen, other.seen)
        self.track, self.mixed, self.check = other.track, other.mixed, False

    def due(self, now: float, quality: float, waited: float, rules: RecognitionRules) -> bool:
        """Whether a shot of ``quality``, the best in the ``waited`` seconds since it was looked for, is embedded."""
        if self.check:
            return True
        if not self.shots:
            return quality >= rules.good or waited >= rules.patience
        since = now - self.asked
        much_better = quality >= rules.better * self.best.quality
        return since >= (rules.spacing if self.embedded < rules.shots or much_better else rules.later)

    def news(self, now: float, rules: RecognitionRules) -> bool:
        """Whether something should be told that was not."""
        if not self.shots:
            return False
        if not self.announced:
            late = now - min(shot.time for shot in self.shots) >= rules.decide
            return self.embedded >= rules.enough and (self.named(rules) is not None or late)
        person, quality = self.told
        much_better = self.best.quality >= rules.better * quality and now - self.spoke >= rules.decide
        return _person(self.named(rules)) != person or much_better

    def tell(self, now: float, rules: RecognitionRules, ended: bool = False) -> Appearance:
        """The appearance as it now is; notes that it was told."""
        best, match = self.best, self.named(rules)
        stage: Literal["start", "update", "end"] = "end" if ended else "update" if self.announced else "start"
        self.announced, self.told, self.spoke = True, (_person(match), best.quality), now
        return Appearance(
            id=self.id, source=self.source, stage=stage, match=match, threshold=rules.match,
            started=self.begun + self.clock, best=best.time + self.clock,
            ended=self.seen + self.clock if ended else 0.0,
            box=best.box, score=best.score, quality=best.quality, frames=self.frames, liveness=self.liveness,
            live=self.live(rules),
        )  # fmt: skip


def _person(match: Match | None) -> str | None:
    return match.person if match else None


def fuse(shots: Sequence[Shot]) -> NDArray[np.float32]:
    """The mean of the shots' embeddings, weighted by quality, of unit length: D float32."""
    weights = np.array([shot.quality for shot in shots], np.float32)
    return unit(weights @ np.stack([shot.embedding for shot in shots]))


def decide(current: Match | None, found: Sequence[Match], threshold: float, hysteresis: float) -> Match | None:
    """Who it is, when the gallery's nearest people are ``found`` (best first) and it was ``current`` so far.

    Nobody, below ``threshold``; but who was named once stays while no more than ``hysteresis`` is missing, and gives
    way only to someone who reaches the threshold and is nearer by ``hysteresis``.
    """
    best = found[0] if found and found[0].cosine >= threshold else None
    held = next((match for match in found if current and match.person == current.person), None)
    if held is None or held.cosine < threshold - hysteresis:
        return best
    return best if best and best.cosine >= held.cosine + hysteresis else held
