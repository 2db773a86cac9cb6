"""Labeled pairs of photos as pairs of evaluation faces, and why the others were left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path

from rkface.calibration.collect import CandidateFace, Collection
from rkface.runtime.core.errors import InputError

from .label_files import read_pairs

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
    largest: dict[str, int] = {}
    for index, face in enumerate(faces):
        if face.name in nameless:
            continue
        if face.name not in largest or face.quality.size > faces[largest[face.name]].quality.size:
            largest[face.name] = index
    labeled, lost = [], []
    pairs = read_pairs(file)
    for left, right, same in pairs:
        missing = [name for name in (left, right) if name not in largest]
        if not missing:
            labeled.append((largest[left], largest[right], same))
        else:
            why = [reasons.get(name, ABSENT) for name in missing]
            lost.append(CALIBRATES if CALIBRATES in why else why[0])
    explained = ", ".join(f"{count} because {why}" for why, count in Counter(lost).most_common())
    if not any(same for *_, same in labeled) or all(same for *_, same in labeled):
        raise InputError(
            f"{file}: {len(labeled)} of its {len(pairs)} pairs can be used, and they do not include both the same "
            f"person and different people ({explained or 'all were used'}). {_advise(lost)}"
        )
    if not lost:
        return tuple(labeled), ()
    return tuple(labeled), (f"{len(lost)} of {len(pairs)} pairs of {file} were left out: {explained}. {_advise(lost)}",)


def _advise(lost: Sequence[str]) -> str:
    if CALIBRATES in lost:
        return (
            "What calibrates cannot evaluate: give the labeled photos with --evaluation and others with --calibration, "
            "or measure all pairs with `rkface evaluate --pairs`"
        )
    if ABSENT in lost:
        return "Write the path of each photo relative to the folder of the photos"
    return "Label more pairs, or use clearer photos"
