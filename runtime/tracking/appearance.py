"""An appearance: one visit of one person to one camera, from its start to its end. docs/events.md has its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from ..gallery.match import Match

SCHEMA, VERSION = "rkface.appearance", 1


@dataclass(frozen=True)
class Appearance:
    """What is known about an appearance at one of its stages. It starts once, may be updated, and ends once.

    All times are seconds since 1970, UTC.

    id         of the appearance, the same at all its stages
    source     name of the camera
    stage      "start", "update" or "end"
    match      the person of the gallery, with a cosine of at least ``threshold``; None if nobody in the gallery is
               similar enough, or if only live faces may be recognized and this one is not known to be live
    threshold  minimum cosine for a match
    started    when the face was first seen
    best       when its best shot was taken
    ended      when it was last seen; 0 while the appearance lasts
    box        of the best shot: x1 y1 x2 y2 as shares of the picture's width and height, 0 to 1
    score      detection score of the best shot
    quality    of the best shot, 0 to 1
    frames     number of frames in which the face was seen
    liveness   0 (a picture of a face) to 1 (a live face); None without a liveness model, which is the default
    live       whether ``liveness`` reaches its threshold; None without a liveness model
    zones      names of the camera's zones in which the face was so far, in the order in which it entered them
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
    zones: tuple[str, ...] = ()

    def as_event(self) -> dict[str, Any]:
        """Return the appearance as an event, ready for JSON. It contains no embedding and no picture."""
        event = {"schema": SCHEMA, "version": VERSION, **asdict(self)}
        if self.match:
            del event["match"]["threshold"]  # a setting of the gallery: it is not part of the event
        return event

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> Appearance:
        """Return the appearance that ``as_event`` turned into ``event``. Fields of later versions are ignored."""
        values = {field.name: event[field.name] for field in fields(Appearance) if field.name in event}
        match = values["match"]
        lists = {"box": tuple(values["box"]), "zones": tuple(values.get("zones", ()))}
        return Appearance(**{**values, **lists, "match": Match(**match) if match else None})
