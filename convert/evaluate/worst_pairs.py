"""The labeled pairs that a model gets most wrong: photos to look at, because a wrong label or a bad photo is among
them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.text import in_a_line

from .labeled_faces import LabeledFaces

WORST_PAIRS = 8  # of each kind


@dataclass(frozen=True)
class WorstPair:
    """A pair of faces that is among the worst of its kind.

    same     labeled as one person
    photos   names of the two photos, with "?" for characters that cannot be shown
    faces    indices of the two faces in ``LabeledFaces.crops``
    cosines  by name of the model
    """

    same: bool
    photos: tuple[str, str]
    faces: tuple[int, int]
    cosines: dict[str, float]


def find_worst_pairs(
    labeled: LabeledFaces, cosines: Mapping[str, NDArray[np.float32]], count: int = WORST_PAIRS
) -> tuple[WorstPair, ...]:
    """The ``count`` pairs of one person with the lowest cosine, then the ``count`` pairs of two people with the
    highest, the worst first. ``cosines``: of every pair, by name of the model; the last model decides."""
    decisive = list(cosines.values())[-1]
    found = []
    for same, values in ((True, decisive), (False, -decisive)):
        places = np.flatnonzero(labeled.same == same)
        for place in places[np.argsort(values[places], kind="stable")[:count]].tolist():
            faces = int(labeled.first[place]), int(labeled.second[place])
            names = in_a_line(labeled.photo_name(faces[0])), in_a_line(labeled.photo_name(faces[1]))
            values_of_pair = {model: round(float(one[place]), 5) for model, one in cosines.items()}
            found.append(WorstPair(same, names, faces, values_of_pair))
    return tuple(found)
