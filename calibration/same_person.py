"""From which cosine on two faces are taken for one person, measured on the photos themselves.

Recognizers differ: different people have cosines near 0 with ArcFace, up to 0.5 with dlib's ResNet-29, and near 0.93
with the same network before its common part is taken off. Who is on the photos is not known, nor how many people. But
no recognizer knows a face that is upside down, so that a face and *another* one upside down have the cosine of
strangers, even if both are of one person. This is where the search begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.vision.embed import Embedder

from .collect import CandidateFace, embed_faces
from .facility_location import SAME_PERSON

MIN_FACES = 10  # with fewer faces, the known value is used
TURNED_FACES = 64  # of all faces, evenly distributed: 64 × 63 pairs and more
STRANGERS = 0.99  # this share of the cosines of strangers is below the cosine from which the search begins
# Share of the pairs within groups. Two groups of one size that a single pair connects have one half, and chains of
# groups have less. Measured on 70 faces in 64 photos with 300 labeled pairs, with MobileFaceNet, and with dlib's
# ResNet-29 with its common part taken off in two ways and not at all: 95 to 100 % of the pairs of one person are in one
# group, and at most 1.5 % of those of two people. At 0.35, dlib's network as it is has all faces in one group.
DENSE = 0.7
MOSTLY_ALIKE = 0.5  # share of the pairs: from it on, faces of one group seem to show one person and not a chain
BLOCK = 1024  # rows of the matrix of all pairs that are in memory at the same time

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SamePerson:
    """``cosine``: two faces with this cosine or a higher one are taken for one person. ``note`` says why it is the
    known value; empty if it was measured."""

    cosine: float = SAME_PERSON
    note: str = ""

    def __str__(self) -> str:
        return self.note or f"a cosine of {self.cosine:.2f} or more is taken for one person"


def find_same_person(candidates: Sequence[CandidateFace], embeddings: Floats, embedder: Embedder) -> SamePerson:
    """The cosine for ``candidates`` with their N×D ``embeddings`` by ``embedder``, which also embeds some of them
    upside down."""
    chosen = [candidates[index] for index in turned_places(len(candidates))]
    turned = [replace(face, crop=np.ascontiguousarray(face.crop[::-1])) for face in chosen]
    return measure_same_person(embeddings, embed_faces(turned, embedder))


def turned_places(count: int) -> NDArray[np.int64]:
    """The indices of those of ``count`` faces that must be embedded upside down, too."""
    return np.linspace(0, max(count - 1, 0), min(count, TURNED_FACES)).astype(np.int64)


def measure_same_person(faces: Floats, turned: Floats) -> SamePerson:
    """The cosine for N ``faces``: N×D embeddings of unit length. ``turned``: those of the faces at ``turned_places``,
    upside down.

    The search begins at ``SAME_PERSON`` of the way from the median cosine of strangers to 1: at ``SAME_PERSON`` for a
    model that is trained by angle, and at the cosine that becomes ``SAME_PERSON`` when the common part of embeddings is
    taken off. It ends at the lowest cosine at which groups are people and not chains: at least ``DENSE`` of all pairs
    within groups have it. Photos of one person only are dense at once, and become one group. So may those of two or
    three people, if the recognizer is a weak one.
    """
    places = turned_places(len(faces))
    if len(faces) < MIN_FACES:
        return SamePerson(note=f"only {len(faces)} faces: two are taken for one person {_known()}")
    cosines = faces @ turned.T
    own = cosines[places, np.arange(len(places))]
    others = np.delete(cosines.ravel(), places * len(places) + np.arange(len(places)))
    strangers = float(np.quantile(others, STRANGERS))
    if np.median(own) >= strangers:
        return SamePerson(
            note="the recognizer also knows faces that are upside down, so that cosines of strangers cannot be "
            f"measured: two faces are taken for one person {_known()}"
        )
    common = float(np.median(others))
    return SamePerson(_find_dense(faces, max(strangers, common + SAME_PERSON * (1 - common))))


def explain_one_group(candidates: Sequence[CandidateFace], embeddings: NDArray[np.float32], same_person: float) -> str:
    """Why all ``candidates`` form one group, and what to do."""
    if len({candidate.sha256 for candidate in candidates}) == 1:
        return (
            f"all {len(candidates)} usable faces are in one photo or copies of it, so that none can be held back to "
            "evaluate on: add photos"
        )
    table = embeddings @ embeddings.T
    alike = float((table >= same_person)[~np.eye(len(candidates), dtype=bool)].mean())
    split = f"the {len(candidates)} faces cannot be split into people to calibrate on and others to evaluate on"
    if alike >= MOSTLY_ALIKE:
        return (
            f"{split}: they seem to show one person ({alike:.0%} of their pairs have a cosine of {same_person:.2f} or "
            "more): add photos of other people, or give some with --evaluation"
        )
    return (
        f"{split}: look-alikes connect them all in chains, although only {alike:.0%} of their pairs have a cosine of "
        f"{same_person:.2f} or more. The recognizer does not tell these people apart well: add photos of other people, "
        "give some with --evaluation, or check how the recognizer takes its input (docs/convert.md)"
    )


def _known() -> str:
    return f"from a cosine of {SAME_PERSON} on, which fits models that are trained by angle (ArcFace)"


def _find_dense(faces: Floats, start: float) -> float:
    """The lowest cosine from ``start`` on with dense groups. Pairs are added from the highest cosine down."""
    lowest, within = 1.0, 0
    parent, size = list(range(len(faces))), [1] * len(faces)

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = one = parent[parent[one]]
        return one

    dense = True  # without a pair
    for linked, (cosine, left, right) in enumerate(_pairs_above(faces, start), 1):
        if dense:
            lowest = cosine
        small, large = sorted((root(left), root(right)), key=size.__getitem__)
        if small != large:
            within += size[small] * size[large]
            parent[small] = large
            size[large] += size[small]
        dense = linked >= DENSE * within
    # ``lowest`` is the pair after the last one with dense groups: it is not connected.
    return start if dense else float(np.nextafter(np.float32(lowest), np.float32(2)))


def _pairs_above(faces: Floats, start: float) -> Iterator[tuple[float, int, int]]:
    """All pairs of different faces with a cosine of ``start`` or more, the highest first: cosine, index, index."""
    rows, columns, cosines = [], [], []
    for first in range(0, len(faces), BLOCK):
        table = faces[first : first + BLOCK] @ faces.T
        row, column = np.nonzero(np.triu(table >= start, first + 1))
        rows.append(row + first)
        columns.append(column)
        cosines.append(table[row, column])
    all_cosines = np.concatenate(cosines)
    order = np.argsort(-all_cosines, kind="stable")
    left, right = np.concatenate(rows)[order], np.concatenate(columns)[order]
    yield from zip(all_cosines[order].tolist(), left.tolist(), right.tolist(), strict=True)
