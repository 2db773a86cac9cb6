"""The photos that the user gave, and the FP32 models that find faces in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rkface.calibration.collect import NO_FACE, Collection, collect_faces
from rkface.calibration.facility_location import SAME_PERSON
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.manifest import Input
from rkface.runtime.core.progress import stage
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.embed import Embedder

MIN_EVALUATION_FACES = 10  # with fewer faces, a percentile or a minimum says nothing


@dataclass(frozen=True)
class PhotoOptions:
    """The photos that the user gave.

    calibration       a folder of photos, or a finished calibration set
    evaluation        other photos to evaluate on; None holds back some of the calibration photos
    pairs             a CSV file with labeled pairs: photo, photo, Yes or No
    people            the photos to evaluate on are in a folder for each person
    count             number of faces, and of frames, to calibrate on
    evaluation_count  maximum number of faces, and of frames, to evaluate on
    one_look          all photos are known to be upright, as rendered ones are: no additional looks at them
    """

    calibration: Path
    evaluation: Path | None = None
    pairs: Path | None = None
    count: int = 100
    evaluation_count: int = 100
    one_look: bool = False
    people: bool = False


@dataclass(frozen=True)
class FaceFinder:
    """The FP32 models that find faces in photos and tell people apart.

    ``input`` is the detector's input, ``digest`` the SHA-256 of the detector's ONNX file. ``same_person`` is the cosine
    from which two faces are taken for one person.
    """

    detector: Detector
    input: Input
    embedder: Embedder
    digest: str
    same_person: float = SAME_PERSON


def find_faces(folder: Path, finder: FaceFinder, *, one_look: bool = False) -> Collection:
    """Find every face in the photos of ``folder``. ``one_look``: see ``PhotoOptions``. Raises InputError if
    the folder has many photos and no face."""
    with stage("find faces") as shown:
        found = collect_faces(folder, finder.detector, finder.embedder.crop, one_look=one_look, progress=shown.advance)
        counted = f"{len(found.candidates)} usable in {len(found.photos)} photos of {folder}"
        shown.note = "; ".join((counted, *found.notes))
    faceless = sum(skipped.reason == NO_FACE for skipped in found.skipped)
    if faceless == len(found.photos) >= MIN_EVALUATION_FACES:
        raise InputError(
            f"{folder}: the detector finds no face with a score of {finder.detector.threshold:g} in any of its "
            f"{faceless} photos. If "
            "they show faces, the detector is the cause: it was exported with another normalization or order of "
            f"channels than {finder.detector.family.name}'s, or it is not trained"
        )
    return found
