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


def reasons_left_out(found: Collection, calibrated: Iterable[str], limit: int) -> dict[str, str]:
    """Why a photo may be missing from the evaluation set, by its name: it calibrates, its faces cannot be used, or
    there are more than ``limit`` faces. ``found`` are the photos to evaluate on."""
    reasons = {face.name: f"there are more than --evaluate {limit} faces" for face in found.candidates}
    reasons |= {one.name: f"one of its photos cannot be judged ({one.reason})" for one in found.nameless}
    for skipped in found.skipped:
        reasons.setdefault(skipped.name, f"one of its photos has no usable face ({skipped.reason})")
    return reasons | dict.fromkeys(calibrated, CALIBRATES)


def label_pairs(
    file: Path, faces: Sequence[CandidateFace], reasons: Mapping[str, str], nameless: Container[str] = ()
) -> tuple[tuple[tuple[int, int, bool], ...], tuple[str, ...]]:
    """The pairs in ``file`` whose photos are both among ``faces``, as indices of each photo's largest face, and whether
    they show the same person; and a remark about the others.

    ``reasons``: why a photo is missing, by its name. ``nameless``: photos in which it is not clear which face the
    label means; their pairs are left out. Raises InputError if no pairs of both kinds are left.
    """
    largest = _labeled_faces(faces, nameless)
    labeled, lost = [], []
    pairs = read_pairs(file)
    require_both_labels(file, [same for *_, same in pairs], "label such pairs")
    find_people(file, pairs)  # contradictions
    for left, right, same in pairs:
        absent = [name for name in (left, right) if name not in largest]
        if not absent:
            labeled.append((largest[left], largest[right], same))
        else:
            why = [reasons.get(name, ABSENT) for name in absent]
            lost.append(CALIBRATES if CALIBRATES in why else why[0])
    explained = ", ".join(f"{count} because {why}" for why, count in Counter(lost).most_common())
    if not any(same for *_, same in labeled) or all(same for *_, same in labeled):
        used = {same for *_, same in labeled}
        missing = "either kind" if not used else "two people" if True in used else "one person"
        raise InputError(
            f"{file}: {len(labeled)} of its {len(pairs)} pairs can be used, and no pair of {missing} is among them "
            f"({explained}). {_advise(lost)}"
        )
    if not lost:
        return tuple(labeled), ()
    return tuple(labeled), (f"{len(lost)} of {len(pairs)} pairs of {file} were left out: {explained}. {_advise(lost)}",)


def label_people(
    folder: Path, faces: Sequence[CandidateFace], nameless: Container[str] = ()
) -> tuple[tuple[int, int, bool], ...]:
    """All pairs of the photos of ``faces`` in ``folder``, which has a subfolder for each person, as indices of each
    photo's largest face, and whether they show the same person. ``nameless``: as in ``label_pairs``. Photos in no
    subfolder are left out. Raises InputError if there are no pairs of both kinds.
    """
    chosen = [index for name, index in _labeled_faces(faces, nameless).items() if "/" in name]
    owners = {index: faces[index].name.partition("/")[0] for index in chosen}
    labeled = tuple((left, right, owners[left] == owners[right]) for left, right in combinations(sorted(owners), 2))
    if len({same for *_, same in labeled}) < 2:
        missing = "two people" if any(same for *_, same in labeled) else "one person"
        raise InputError(
            f"{folder}: {len(owners)} of its photos can be used to evaluate, and they show the labeled faces of "
            f"{len({*owners.values()})} people, so that there is no pair of {missing}: add photos, at least two of "
            "each person"
        )
    return labeled


def _labeled_faces(faces: Sequence[CandidateFace], nameless: Container[str]) -> dict[str, int]:
    """The index of the largest of ``faces`` in each photo, by the photo's name, without photos that are
    ``nameless``."""
    largest: dict[str, int] = {}
    for index, face in enumerate(faces):
        if face.name in nameless:
            continue
        if face.name not in largest or face.quality.size > faces[largest[face.name]].quality.size:
            largest[face.name] = index
    return largest


def _advise(lost: Sequence[str]) -> str:
    if CALIBRATES in lost:
        return (
            "What calibrates cannot evaluate: give the labeled photos with --evaluation and others with --calibration, "
            "or measure all pairs with `rkface evaluate --pairs`"
        )
    if ABSENT in lost:
        return "Write the path of each photo relative to the folder of the photos"
    return "Label more pairs, or use clearer photos"
