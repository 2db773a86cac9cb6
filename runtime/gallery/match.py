"""The result of a search in the gallery."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Match:
    """A person of the gallery who looks like a face.

    Attributes:
        person: Id of the person. It never changes.
        name: Name of the person when the search ran. It may change.
        cosine: Cosine similarity of the face and the person's most similar sample, -1 to 1. A value at or above the
            bundle's match threshold (``pipeline.thresholds.match``) means the same person.
    """

    person: str
    name: str
    cosine: float
