"""What reviews measure: false and missed matches of each camera and threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .reviews import Review


@dataclass(frozen=True)
class ReviewFigures:
    """The reviewed appearances of one camera at one threshold.

    Users review what looks wrong, so these are counts and not rates: at least so many of all appearances were wrong.

    Attributes:
        camera: Name of the camera.
        threshold: Minimum cosine for a match.
        appearances: How many appearances at this threshold the log has now.
        reviewed: How many were reviewed; they may be older than the log.
        right: Recognized, as the right person.
        false_matches: Recognized, but as somebody who it was not.
        missed_matches: Not recognized as the person who it was; a wrong person counts here, too.
        rightly_unknown: Not recognized, and nobody who is enrolled.
        highest_false: The highest cosine of a false match; None without one. A threshold above it avoids all of them.
        lowest_right: The lowest cosine of a right match; None without one. A threshold above it loses that match.
    """

    camera: str
    threshold: float
    appearances: int
    reviewed: int
    right: int
    false_matches: int
    missed_matches: int
    rightly_unknown: int
    highest_false: float | None
    lowest_right: float | None


def count_reviews(reviews: Sequence[Review], appearances: Mapping[tuple[str, float], int]) -> tuple[ReviewFigures, ...]:
    """The figures of each camera and threshold. ``appearances``: how many the log has of each."""
    groups: dict[tuple[str, float], list[Review]] = {}
    for review in reviews:
        groups.setdefault((review.source, round(review.threshold, 4)), []).append(review)
    return tuple(
        _count(key, own, sum(count for (camera, at), count in appearances.items() if (camera, round(at, 4)) == key))
        for key, own in sorted(groups.items())
    )


def _count(key: tuple[str, float], reviews: Sequence[Review], appearances: int) -> ReviewFigures:
    outcomes = [review.outcome for review in reviews]
    false = [review for review in reviews if review.named and review.named != review.person]
    right = [review.cosine for review in reviews if review.outcome == "right" and review.cosine is not None]
    return ReviewFigures(
        camera=key[0],
        threshold=key[1],
        appearances=appearances,
        reviewed=len(reviews),
        right=outcomes.count("right"),
        false_matches=len(false),
        missed_matches=outcomes.count("missed match") + outcomes.count("wrong person"),
        rightly_unknown=outcomes.count("rightly unknown"),
        highest_false=max((one.cosine for one in false if one.cosine is not None), default=None),
        lowest_right=min(right, default=None),
    )
