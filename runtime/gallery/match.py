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
            bundle's match threshold (``pipeline.thresholds.match``) means the same person, see ``counts``.
        threshold: The minimum cosine of this person's own, 0 to 1; None without one.
    """

    person: str
    name: str
    cosine: float
    threshold: float | None = None

    def needed(self, threshold: float) -> float:
        """The minimum cosine at which this person is recognized: ``threshold``, or the person's own if it is higher.

        So a person's own threshold can make faces unknown, but never lets anybody be recognized who was not before.
        """
        return threshold if self.threshold is None else max(threshold, self.threshold)

    def counts(self, threshold: float) -> bool:
        """Whether the face is this person, if ``threshold`` is the minimum cosine for everybody."""
        return self.cosine >= self.needed(threshold)
