"""Labeled photos as pairs of evaluation faces, and why others were left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from rkface.calibration.collect import CandidateFace, Collection
from rkface.runtime.core.errors import InputError

from .label_files import find_people, read_pairs, require_both_labels

CALIBRATES = "one of its photos calibrates"
ABSENT = "one of its photos is not in the folder"
COPY_CALIBRATES = "one of its photos is a copy of one that calibrates"
SAME_PICTURE = "its photos are copies of each other, or of those of another pair"


def reasons_left_out(found: Collection, calibrated: Iterable[str], limit: int) -> dict[str, str]:
    """Why a photo may be missing from the evaluation set, by its name: it calibrates, its faces cannot be used, or
    there are more than ``limit`` faces. ``found`` are the photos to evaluate on."""
    reasons = {face.name: f"there are more than --evaluate {limit} faces" for face in found.candidates}
    reasons |= {one.name: f"one of its photos cannot be judged ({one.reason})" for one in found.nameless}
    for skipped in found.skipped:
        reasons.setdefault(skipped.name, f"one of its photos has no usable face ({skipped.reason})")
    return reasons | dict.fromkeys(calibrated, CALIBRATES)


def label_pairs(
    file: Path,
    faces: Sequence[CandidateFace],
    reasons: Mapping[str, str],
    nameless: Container[str] = (),
    others: Sequence[tuple[CandidateFace, int | None]] = (),
) -> tuple[tuple[tuple[int, int, bool], ...], tuple[str, ...]]:
    """The pairs in ``file`` whose photos are both among ``faces``, as indices of each photo's largest face, and whether
    they show the same person; and a remark about the others.

    ``reasons``: why a photo is missing, by its name. ``nameless``: photos in which it is not clear which face the
    label means; their pairs are left out. ``others``: faces that are not evaluated, each with the index of the
    evaluated face that shows the same picture, or None. Pairs that show the same pictures count once. Raises InputError
    if no pairs of both kinds are left.
    """
    places = _labeled_faces(faces, nameless, others)
    labeled: dict[tuple[int, int], tuple[int, int, bool]] = {}
    lost = []
    pairs = read_pairs(file)
    require_both_labels(file, [same for *_, same in pairs], "label such pairs")
    find_people(file, pairs)  # contradictions
    for left, right, same in pairs:
        absent = [name for name in (left, right) if name not in places]
        if absent:
            why = [reasons.get(name, ABSENT) for name in absent]
            lost.append(CALIBRATES if CALIBRATES in why else why[0])
            continue
        first, second = sorted((places[left], places[right]))
        if first == second or (first, second) in labeled:
            lost.append(SAME_PICTURE)
        else:
            labeled[first, second] = places[left], places[right], same
    explained = ", ".join(f"{count} because {why}" for why, count in Counter(lost).most_common())
    used = {same for *_, same in labeled.values()}
    if len(used) < 2:
        missing = "either kind" if not used else "two people" if True in used else "one person"
        raise InputError(
            f"{file}: {len(labeled)} of its {len(pairs)} pairs can be used, and no pair of {missing} is among them "
            f"({explained}). {_advise(lost)}"
        )
    note = f"{len(lost)} of {len(pairs)} pairs of {file} were left out: {explained}. {_advise(lost)}"
    return tuple(labeled.values()), (note,) if lost else ()


def label_people(
    folder: Path,
    faces: Sequence[CandidateFace],
    nameless: Container[str] = (),
    others: Iterable[tuple[CandidateFace, int | None]] = (),
) -> tuple[tuple[int, int, bool], ...]:
    """All pairs of the photos of ``faces`` in ``folder``, which has a subfolder for each person, as indices of each
    photo's largest face, and whether they show the same person. ``nameless`` and ``others``: as in ``label_pairs``.
    Photos in no subfolder are left out. Raises InputError if there are no pairs of both kinds.
    """
    places = _labeled_faces(faces, nameless, others)
    owners = {index: name.partition("/")[0] for name, index in places.items() if "/" in name}
    labeled = tuple((left, right, owners[left] == owners[right]) for left, right in combinations(sorted(owners), 2))
    if len({same for *_, same in labeled}) < 2:
        missing = "two people" if any(same for *_, same in labeled) else "one person"
        raise InputError(
            f"{folder}: {len(owners)} of its photos can be used to evaluate, and they show the labeled faces of "
            f"{len({*owners.values()})} people, so that there is no pair of {missing}: add photos, at least two of "
            "each person"
        )
    return labeled


def _labeled_faces(
    faces: Sequence[CandidateFace], nameless: Container[str], others: Iterable[tuple[CandidateFace, int | None]]
) -> dict[str, int]:
    """The index of the face that a label means in each photo, by the photo's name: the largest. ``nameless`` and
    ``others``: as in ``label_pairs``."""
    meant: dict[str, tuple[CandidateFace, int | None]] = {}
    for face, index in (*((face, index) for index, face in enumerate(faces)), *others):
        if face.name not in nameless and (
            face.name not in meant or face.quality.size > meant[face.name][0].quality.size
        ):
            meant[face.name] = face, index
    return {name: index for name, (_, index) in meant.items() if index is not None}


def _advise(lost: Sequence[str]) -> str:
    if CALIBRATES in lost or COPY_CALIBRATES in lost:
        return (
            "What calibrates cannot evaluate: give the labeled photos with --evaluation and others with --calibration, "
            "or measure all pairs with `rkface evaluate --pairs`"
        )
    if ABSENT in lost:
        return "Write the path of each photo relative to the folder of the photos"
    return "Label more pairs, or use clearer photos"
