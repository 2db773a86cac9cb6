"""How faces compare with the people of the gallery before they are enrolled, and what a person should check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..gallery.anchors import is_ignored
from ..gallery.gallery import Gallery
from ..gallery.match import Match
from ..gallery.people import Sample, look_alike
from ..gallery.rows import find_spelling
from ..vision.embed import unit

FORCE = "--force (API: force=true)"  # in messages for both
NEAR = 0.1  # below the match threshold: other people who are this similar are named, so that a person can check


@dataclass(frozen=True)
class Rivals:
    """Who else a face may be.

    near     another person of the gallery who looks like the face; None if nobody does
    ignored  a sentence if the face is on the ignore list, else ""
    """

    near: Match | None
    ignored: str

    def objection(self, threshold: float) -> str:
        """Why the face is not the person's; "" if nothing speaks against it. ``threshold``: minimum cosine for a
        match."""
        if self.ignored:
            return f"{self.ignored}: remove it there first, or {FORCE} if it is another person"
        return already_enrolled(self.near, threshold)


@dataclass(frozen=True)
class Comparison:
    """How new pictures of a person compare with the gallery.

    near    another person of the gallery who looks like the face; None if nobody does
    own     the best cosine with the person's own samples; None without any
    doubts  reasons why the pictures may show somebody else than the person
    """

    near: Match | None
    own: float | None
    doubts: tuple[str, ...]


def find_rivals(gallery: Gallery, name: str, embedding: NDArray[np.float32], threshold: float) -> Rivals:
    """Who besides ``name`` looks like a face (D float32): a person with a cosine of at least ``threshold`` - ``NEAR``,
    or a face on the ignore list."""
    found = gallery.search(embedding[None], 2)[0]
    other = next((match for match in found if match.name != name), None)
    near = other if other is not None and other.cosine >= threshold - NEAR else None
    cosine, ignored = float(gallery.anchor_cosines(embedding[None])[0]), ""
    if is_ignored(found, cosine, threshold):
        ignored = f"this face is on the ignore list (cosine {cosine:.3f}, threshold {threshold:.3f})"
    return Rivals(near, ignored)


def compare_with_gallery(gallery: Gallery, name: str, shots: Sequence[Sample], threshold: float) -> Comparison:
    """Compare ``shots`` of one face with the gallery before they become samples of ``name``. The other person in the
    result is that of ``find_rivals``."""
    name = find_spelling(gallery, name)
    weights = np.array([shot.quality for shot in shots], np.float32)
    vector = unit(weights @ np.stack([shot.embedding for shot in shots]))
    rivals = find_rivals(gallery, name, vector, threshold)
    own = max((float(known @ vector) for known in known_embeddings(gallery, name)), default=None)
    doubts: tuple[str, ...] = ()
    if own is not None and own < threshold:
        doubts = (
            f"unlike the other samples of {name!r} (best cosine {own:.3f}, threshold {threshold:.3f}): "
            "is it the same person?",
        )
    if rivals.ignored:
        doubts += (f"{rivals.ignored}: is it another person?",)
    return Comparison(rivals.near, own, doubts)


def known_embeddings(gallery: Gallery, name: str) -> list[NDArray[np.float32]]:
    """The embeddings of the person ``name`` that can be compared with new ones."""
    if not gallery.read("SELECT 1 FROM person JOIN sample ON person = person.id WHERE name = ?", [name]):
        return []
    samples = gallery.samples(gallery.person(name))
    return [sample.embedding for sample in samples if sample.identity == gallery.identity]


def already_enrolled(near: Match | None, threshold: float) -> str:
    """Why a face that looks like ``near`` is not enrolled under another name; "" if it is not ``near``."""
    if near is None or not near.counts(threshold):
        return ""
    needed = near.needed(threshold)
    already = f"already enrolled as {near.name!r} (cosine {near.cosine:.3f}, threshold {needed:.3f})"
    return f"{already}: use that name, or {FORCE} if they are two people"


def things_to_check(gallery: Gallery, name: str, near: Match | None) -> tuple[str, ...]:
    """Sentences about people whom ``name`` may be mixed up with: ``near``, who looks like the face, and somebody whose
    name differs only in case from a new name."""
    likeness = () if near is None else (f"looks like {near.name!r} (cosine {near.cosine:.3f})",)
    names = [other for (other,) in gallery.read("SELECT name FROM person")]
    other = None if name in names else look_alike(name, names)
    return (
        likeness
        if other is None
        else (*likeness, f"the gallery also has {other!r}: if they are one person, merge them")
    )
