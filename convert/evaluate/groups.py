"""Figures by group of people: a threshold that is right for everybody together can be wrong for a group.

InsightFace publishes its recognizer's TAR by group, and the groups differ by 20 points (docs/evaluate.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.errors import InputError

from ..label_files import read_csv_rows, show_row
from .labeled_faces import LabeledFaces
from .verification import FEW_SAME, Proportion, enough_pairs, proportion, rank_pairs


@dataclass(frozen=True)
class GroupFigures:
    """One model on the pairs within one group.

    far, tar   at the common threshold; None without such pairs
    threshold  the lowest with the requested FAR within the group; None if there are too few pairs
    """

    model: str
    far: Proportion | None
    tar: Proportion | None
    threshold: float | None


@dataclass(frozen=True)
class GroupResult:
    """The figures of one group. Both faces of a pair must be in the group."""

    name: str
    people: int
    same: int
    different: int
    models: tuple[GroupFigures, ...]


def read_groups(path: Path) -> dict[str, str]:
    """Read a CSV file with a header line and two columns: name, group. The name is that of a person's folder or of a
    photo.

    Raises InputError if a line has another form, or if a name is in two groups.
    """
    found: dict[str, str] = {}
    for row in read_csv_rows(path):
        if len(row.cells) != 2 or not all(row.cells):
            raise InputError(f"{path}, line {row.line}: expected «name,group», found {show_row(row)}")
        name, group = row.cells
        if found.setdefault(name, group) != group:
            raise InputError(
                f"{path}, line {row.line}: an earlier line puts this name into another group: remove one of them"
            )
    return found


def group_of_faces(labeled: LabeledFaces, groups: Mapping[str, str]) -> NDArray[np.str_]:
    """The group of each face; "" for a face without a group. Raises InputError if no face has a group, or if a person
    is in two groups."""
    of = np.array([groups.get(label, "") for label in labeled.labels])
    if not (of != "").any():
        raise InputError(
            "--groups contains none of the names: use the names of the people's folders, or of the photos as in --pairs"
        )
    belonging = {pair for pair in zip(labeled.people.tolist(), of.tolist(), strict=True) if pair[1]}
    if len(belonging) > len({person for person, _ in belonging}):
        raise InputError(
            "--groups puts two photos of one person (by the labels) into different groups: correct the file"
        )
    return of


def evaluate_groups(
    labeled: LabeledFaces,
    of: NDArray[np.str_],
    cosines: Mapping[str, NDArray[np.float32]],
    thresholds: Sequence[float],
    far: float,
) -> tuple[GroupResult, ...]:
    """The figures of each group.

    of          group of each face
    cosines     of every pair, by model
    thresholds  the common threshold of each model
    far         the requested FAR
    """
    first, second = of[labeled.first], of[labeled.second]
    found = []
    for name in sorted({*of.tolist()} - {""}):
        inside = (first == name) & (second == name)
        same = labeled.same[inside]
        models = tuple(
            _figures(model, values[inside], same, threshold, far)
            for (model, values), threshold in zip(cosines.items(), thresholds, strict=True)
        )
        people = len(np.unique(labeled.people[of == name]))
        found.append(GroupResult(name, people, int(same.sum()), int((~same).sum()), models))
    return tuple(found)


def _figures(
    model: str, cosines: NDArray[np.float32], same: NDArray[np.bool_], threshold: float, far: float
) -> GroupFigures:
    accepted = cosines >= threshold
    shares = [proportion(int(accepted[kind].sum()), int(kind.sum())) if kind.any() else None for kind in (~same, same)]
    own = None
    if shares[0] and enough_pairs(far, shares[0].total):
        counts = rank_pairs(cosines, same).counts()
        own = float(counts.thresholds[counts.at_far(far)])
    return GroupFigures(model, shares[0], shares[1], own)


def group_notes(groups: Sequence[GroupResult], of: NDArray[np.str_], far: float, tar: Proportion) -> list[str]:
    """Remarks about the model that the board runs; ``far`` is the requested FAR, ``tar`` the TAR of all pairs."""
    found = []
    if missing := int((of == "").sum()):
        found.append(f"{missing} faces have no group")
    for group in groups:
        one = group.models[-1]
        if one.far and one.far.low > far:
            fix = f"; {one.threshold:.4f} would be right for this group" if one.threshold else ""
            found.append(
                f"{group.name}: at the common threshold, its FAR is {one.far.value:.2%} instead of the requested "
                f"{far:.2g}{fix}"
            )
        if one.tar and one.tar.high < tar.low:
            found.append(f"{group.name}: TAR is {one.tar.value:.2%}, over all people {tar.value:.2%}")
        if not enough_pairs(far, group.different) or group.same < FEW_SAME:
            found.append(
                f"{group.name}: {group.same:,} pairs of one person and {group.different:,} of two people are too few "
                "for "
                "reliable figures"
            )
    return found
