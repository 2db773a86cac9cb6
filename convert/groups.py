"""Figures by group of people: a threshold that is right for all together can be wrong for some of them.

InsightFace publishes its recognizer's TAR by group, and they differ by 20 points (docs/evaluate.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.errors import InputError

from .labeled import Labeled
from .material import read_table
from .verification import FEW_SAME, Share, enough, rank, share


@dataclass(frozen=True)
class GroupFigures:
    """One model on the pairs within one group. ``far`` and ``tar``: at the threshold chosen for all, None without such
    pairs. ``threshold``: the lowest that keeps to the FAR asked for within the group, None of too few pairs."""

    model: str
    far: Share | None
    tar: Share | None
    threshold: float | None


@dataclass(frozen=True)
class Group:
    """``same``, ``different``: its pairs; both faces of a pair are of the group."""

    name: str
    people: int
    same: int
    different: int
    models: tuple[GroupFigures, ...]


def read_groups(path: Path) -> dict[str, str]:
    """Group by name of a person's folder, or of a photo, from a CSV with a header and two columns: name, group."""
    found: dict[str, str] = {}
    for number, row in enumerate(read_table(path), 2):
        if len(row) != 2 or not all(row):
            raise InputError(f"{path}, line {number}: not «name,group»: {','.join(row)[:80]}")
        name, group = row
        if found.setdefault(name, group) != group:
            raise InputError(f"{path}, line {number}: this name is in another group above: a person has one")
    return found


def grouped(labeled: Labeled, groups: Mapping[str, str]) -> NDArray[np.str_]:
    """The group of each face, "" where it has none. InputError where none has one, or one person has two."""
    of = np.array([groups.get(label, "") for label in labeled.labels])
    if not (of != "").any():
        raise InputError("--groups names none of the people: name them by their folders, or the photos as --pairs does")
    belonging = {pair for pair in zip(labeled.people.tolist(), of.tolist(), strict=True) if pair[1]}
    if len(belonging) > len({person for person, _ in belonging}):
        raise InputError("--groups puts two photos of one person, by the labels, into different groups: mend it")
    return of


def by_group(
    labeled: Labeled,
    of: NDArray[np.str_],
    cosines: Mapping[str, NDArray[np.float32]],
    thresholds: Sequence[float],
    far: float,
) -> tuple[Group, ...]:
    """``of``: each face's group; ``cosines``: of every pair, by model; ``thresholds``: chosen for all, one a model."""
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
        found.append(Group(name, people, int(same.sum()), int((~same).sum()), models))
    return tuple(found)


def _figures(
    model: str, cosines: NDArray[np.float32], same: NDArray[np.bool_], threshold: float, far: float
) -> GroupFigures:
    accepted = cosines >= threshold
    shares = [share(int(accepted[kind].sum()), int(kind.sum())) if kind.any() else None for kind in (~same, same)]
    own = None
    if shares[0] and enough(far, shares[0].total):
        counts = rank(cosines, same).counts()
        own = float(counts.thresholds[counts.at_far(far)])
    return GroupFigures(model, shares[0], shares[1], own)


def remarks(groups: Sequence[Group], of: NDArray[np.str_], far: float, tar: Share) -> list[str]:
    """What to tell of the model that the board runs; ``far``: asked for, ``tar``: that of all pairs."""
    found = []
    if missing := int((of == "").sum()):
        found.append(f"{missing} faces are in no group")
    for group in groups:
        one = group.models[-1]
        if one.far and one.far.low > far:
            cure = f": {one.threshold:.4f} would keep to it there" if one.threshold else ""
            found.append(
                f"{group.name}: at the threshold for all, {one.far.value:.2%} of its different people pass as one, "
                f"{far:.2g} is asked{cure}"
            )
        if one.tar and one.tar.high < tar.low:
            found.append(
                f"{group.name}: {one.tar.value:.2%} of the pairs of one person are accepted, of all {tar.value:.2%}"
            )
        if not enough(far, group.different) or group.same < FEW_SAME:
            found.append(
                f"{group.name}: {group.same:,} pairs of one person and {group.different:,} of two say little of it"
            )
    return found
