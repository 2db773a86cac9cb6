"""What the camera service tells the world: one appearance of one face, from when it came to when it went."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..gallery.match import Match

SCHEMA, VERSION = "rkface.appearance", 1


@dataclass(frozen=True)
class Appearance:
    """What is known of an appearance at one ``stage`` of it: it starts once, may be updated, ends once.

    id         of the appearance, the same at all its stages
    source     the camera
    match      None: nobody of the gallery comes near enough (``threshold``), or who does has to be live and is not
    best       when its best shot was taken; all times are seconds since 1970, UTC; ``ended`` is 0 while it lasts
    box        of the best shot: x1 y1 x2 y2 as shares of the picture's width and height, 0 to 1
    score      the detector's, of the best shot
    quality    of the best shot, 0 to 1
    frames     in how many it was seen
    liveness   0 (a picture of a face) to 1; None where nothing judges that, which is the default
    live       whether ``liveness`` reaches its threshold; None where nothing judges that
    """

    id: str
    source: str
    stage: Literal["start", "update", "end"]
    match: Match | None
    threshold: float
    started: float
    best: float
    ended: float
    box: tuple[float, float, float, float]
    score: float
    quality: float
    frames: int
    liveness: float | None = None
    live: bool | None = None

    def as_event(self) -> dict[str, Any]:
        """For JSON. Embeddings and pictures are never part of it."""
        return {"schema": SCHEMA, "version": VERSION, **asdict(self)}
