"""Finds the face of the labeled person in each of many photos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkface.calibration.collect import find_labeled_face, look_at_photo, look_notes
from rkface.runtime.core.crop_template import CropTemplate
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.progress import stage
from rkface.runtime.enrollment.measured_photo import find_large_boxes
from rkface.runtime.vision.align import align
from rkface.runtime.vision.detector_shapes import AnyDetector
from rkface.runtime.vision.image import read_photo
from rkface.runtime.vision.quality import TILTED, roll_of

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class LabeledFaceFinder:
    """The FP32 detector, its score ``threshold``, and how a face is aligned for the recognizer. ``one_look``: no
    additional looks, because all photos are known to be upright, as rendered ones are."""

    detector: AnyDetector
    threshold: float
    crop: CropTemplate
    one_look: bool = False


@dataclass(frozen=True)
class FoundFaces:
    """The face of the labeled person in each photo: index of the photo → uint8 BGR crop. In ``unclear`` photos,
    it is not certain which face that is, or which way up it is. ``copies``: of each photo whose file has the content of
    an earlier one, the index of that one; a copy has no face here."""

    crops: dict[int, Images]
    copies: dict[int, int]
    faceless: int
    unreadable: int
    unclear: int = 0
    digests: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def find_labeled_faces(photos: Sequence[Path], finder: LabeledFaceFinder) -> FoundFaces:
    """Find the face of the labeled person in each of ``photos`` with ``finder``."""
    crops: dict[int, Images] = {}
    digests: dict[str, int] = {}
    copies: dict[int, int] = {}
    counts: Counter[str] = Counter()
    with stage("find faces") as shown:
        for index, photo in enumerate(photos):
            shown.advance(index, len(photos))
            try:
                read = read_photo(photo)
            except (InputError, OSError):
                counts["unreadable"] += 1
                continue
            earlier = digests.setdefault(read.sha256, index)
            if earlier != index:
                copies[index] = earlier
                continue
            look = look_at_photo(finder.detector, read.image, finder.threshold, one_look=finder.one_look)
            face = find_labeled_face(look.faces)
            if not len(look.faces):
                counts["faceless"] += 1
            elif not look.sure:
                counts["unsure"] += 1
            elif face is None:
                counts["several"] += 1
            elif abs(roll_of(look.faces.landmarks[face])) > TILTED:
                counts["sideways"] += 1
            else:
                crops[index] = align(look.image, look.faces.landmarks[face], finder.crop)
                counts["turned"] += look.turned != 0
                counts["again"] += look.again
                counts["larger"] += len(find_large_boxes(look.faces.boxes)) > 1
        shown.note = f"in {len(crops)} of {len(photos)} photos"
    unclear = counts["unsure"] + counts["several"] + counts["sideways"]
    notes = _describe(counts, len(copies))
    return FoundFaces(crops, copies, counts["faceless"], counts["unreadable"], unclear, frozenset(digests), notes)


def _describe(counts: Counter[str], copies: int) -> tuple[str, ...]:
    """Remarks about photos that were left out because their face is not certain, and about those that needed more than
    one look or a choice."""
    remarks = {
        "sideways": "photos left out because the person's face lies on its side beside an upright one",
        "several": "photos left out because another face is at least half as wide as the largest, so that it is not "
        "clear who is meant (crop them)",
        "larger": "photos with several faces (a quarter to half as wide) of which the largest was taken",
    }
    notes = [f"{copies} photos are copies of others, and count as one with them"] if copies else []
    notes += look_notes(counts["turned"], counts["again"], counts["unsure"])
    return (*notes, *(f"{text}: {counts[key]}" for key, text in remarks.items() if counts[key]))
