"""From the user's photos to the two data sets of a conversion: one to calibrate on, and other faces to evaluate on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkface.calibration.choose import Choice, choose_faces, choose_frames, hold_out, require_enough_faces
from rkface.calibration.collect import NO_FACE, CandidateFace, Collection, collect_faces, embed_faces
from rkface.calibration.dataset import CalibrationSet, Provenance, is_set, read_set, write_set
from rkface.calibration.facility_location import SAME_PERSON
from rkface.runtime.core.bundle import sha256
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.manifest import Input, Role
from rkface.runtime.core.progress import stage
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.embed import Embedder
from rkface.runtime.vision.image import read_image
from rkface.runtime.vision.letterbox import letterbox

from .image_lists import to_rgb
from .labeled_pairs import label_pairs, reasons_left_out
from .mosaic import make_mosaics

MIN_EVALUATION_FACES = 10  # with fewer faces, a percentile or a minimum says nothing

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class PhotoOptions:
    """The photos that the user gave.

    calibration       a folder of photos, or a finished calibration set
    evaluation        other photos to evaluate on; None holds back some of the calibration photos
    pairs             a CSV file with labeled pairs: photo, photo, Yes or No
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


@dataclass(frozen=True)
class EvaluationSet:
    """Photos that calibration never saw, with their faces as the FP32 detector finds them.

    photos        paths, N
    frames        N×H×W×3 uint8 RGB: ``photos`` letterboxed for the detector
    scales        N: input pixels per photo pixel
    faces         M
    crops         M×h×w×3 uint8 RGB: ``faces`` aligned for the recognizer
    labeled       (index, index, same person) into ``faces``; empty without labels
    mosaics       8×H×W×3 uint8 RGB: crowds of small faces, made of ``frames``; they test the detector separately
    surroundings  M×h×w×3 uint8 RGB: ``faces`` with their surroundings, for a liveness model; None without one
    notes         remarks for the report
    """

    photos: tuple[Path, ...]
    frames: Image
    scales: tuple[float, ...]
    faces: tuple[CandidateFace, ...]
    crops: Image
    labeled: tuple[tuple[int, int, bool], ...]
    mosaics: Image
    surroundings: Image | None = None
    notes: tuple[str, ...] = ()

    @property
    def scenes(self) -> Image:
        """All inputs for the detector: ``frames``, then ``mosaics``."""
        return np.concatenate([self.frames, self.mosaics])

    def images(self, role: Role) -> Image:
        """All inputs for the model of ``role``, N×H×W×3 uint8 RGB."""
        if role == "liveness":
            assert self.surroundings is not None
            return self.surroundings
        return self.scenes if role == "detector" else self.crops


@dataclass(frozen=True)
class Datasets:
    """The calibration set and the evaluation set of one conversion.

    calibration        None if nothing is quantized
    evaluation         shares no photo with ``calibration``
    notes              remarks for the report
    calibration_faces  the faces in ``calibration``; () for a finished set, which does not keep their photos
    liveness_list      the list of images that a liveness model calibrates on; None without one
    """

    calibration: CalibrationSet | None
    evaluation: EvaluationSet
    notes: tuple[str, ...] = ()
    calibration_faces: tuple[CandidateFace, ...] = ()
    liveness_list: Path | None = None

    def image_list(self, role: Role) -> Path | None:
        """The list of images that the model of ``role`` calibrates on; None if it is not quantized."""
        if self.calibration is None or role == "liveness":
            return self.liveness_list
        return self.calibration.detector if role == "detector" else self.calibration.recognizer


def prepare_datasets(
    photos: PhotoOptions,
    finder: FaceFinder,
    out: Path,
    *,
    quantized: bool = True,
    settle: Callable[[Sequence[CandidateFace]], Embedder] | None = None,
) -> Datasets:
    """Find the faces of ``photos``, and write the calibration set to ``out`` unless nothing is quantized.

    ``settle`` is called once with all faces that were found first, before anything else is concluded from them. It
    checks the recognizer on them and returns it. Calibration and evaluation share no photo. If one folder serves both,
    they also share no person, as far as FP32 embeddings can tell. Raises InputError if there are too few faces for one
    of them.
    """
    if is_set(photos.calibration):
        calibration = _read_finished_set(photos.calibration, finder)
        if photos.evaluation is None:
            raise InputError(
                f"{photos.calibration} is a finished calibration set: also give photos that are not in it with "
                "--evaluation, so that the result is evaluated on faces that calibration never saw"
            )
        every = find_faces(photos.evaluation, finder, one_look=photos.one_look)
        rest = _without(every, calibration.sources)
        finder = _settled(finder, rest, settle)
        evaluation = build_evaluation_set(photos, rest, finder, _names(every) - _names(rest))
        return Datasets(calibration if quantized else None, evaluation, every.notes)
    found = find_faces(photos.calibration, finder, one_look=photos.one_look)
    seen = found.notes
    finder = _settled(finder, found, settle)
    if not quantized:
        rest = found
        if photos.evaluation is not None:
            rest = find_faces(photos.evaluation, finder, one_look=photos.one_look)
        return Datasets(None, build_evaluation_set(photos, rest, finder), rest.notes)
    if photos.evaluation is None:
        found, embeddings, rest = _split(found, _embed(found, finder), finder.same_person)
        calibrated = _names(found)
    else:
        every = find_faces(photos.evaluation, finder, one_look=photos.one_look)
        seen = tuple(
            f"{name} {note}" for name, one in (("calibration:", found), ("evaluation:", every)) for note in one.notes
        )
        rest = _without(every, {sha256(photo) for photo in found.photos})
        calibrated = _names(every) - _names(rest)
        # If all faces are used anyway, it does not matter who they are.
        embeddings = _embed(found, finder) if len(found.candidates) > photos.count else None
    calibration, faces = _write_calibration_set(photos, found, embeddings, finder, out)
    few = f"calibrated on {len(faces)} faces instead of {photos.count}: the photos have no more usable faces"
    notes = (*seen, few) if len(faces) < photos.count else seen
    evaluation = build_evaluation_set(photos, rest, finder, calibrated)
    return Datasets(calibration, evaluation, notes, faces)


def _settled(
    finder: FaceFinder, found: Collection, settle: Callable[[Sequence[CandidateFace]], Embedder] | None
) -> FaceFinder:
    return finder if settle is None else replace(finder, embedder=settle(found.candidates))


def _write_calibration_set(
    photos: PhotoOptions, found: Collection, embeddings: NDArray[np.float32] | None, finder: FaceFinder, out: Path
) -> tuple[CalibrationSet, tuple[CandidateFace, ...]]:
    """Choose among the faces of ``found``, write the set to ``out``, and return it with the chosen faces."""
    with stage("calibration set") as shown:
        choice = choose_faces(found.candidates, photos.count, embeddings, same_person=finder.same_person)
        require_enough_faces(choice, found)
        frames = choose_frames(choice.faces, found, photos.count)
        provenance = Provenance(
            photos.calibration,
            finder.digest,
            finder.detector.threshold,
            finder.embedder.crop,
            (*found.skipped, *choice.left_out),
        )
        calibration = write_set(
            out,
            choice.faces,
            frames,
            finder.input.width,
            finder.input.height,
            provenance=provenance,
            among=found.candidates,
        )
        shown.note = f"{calibration.faces} faces, {calibration.frames} frames"
    return calibration, choice.faces


def render_demo_photos(folder: Path) -> PhotoOptions:
    """Render photos for the demo pack into ``folder``: some people to calibrate on, other people to evaluate on. The
    demo models were trained on neither."""
    from .demo.render import CALIBRATE, EVALUATE, write_photos

    calibration, evaluation = folder / "calibration", folder / "evaluation"
    with stage("render faces") as shown:
        for where, people, shots in ((calibration, CALIBRATE[:50], 2), (evaluation, EVALUATE[:50], 3)):
            shutil.rmtree(where, ignore_errors=True)
            write_photos(where, people, shots, seed=0, progress=shown.advance)
        shown.note = "synthetic photos of people that the demo models were not trained on"
    return PhotoOptions(calibration, evaluation, evaluation / "pairs.csv", evaluation_count=150, one_look=True)


def _read_finished_set(folder: Path, finder: FaceFinder) -> CalibrationSet:
    calibration, input, crop = read_set(folder), finder.input, finder.embedder.crop
    if not calibration.crop.same_crop(crop):
        made, wanted = (f"{one.name} ({one.width}×{one.height})" for one in (calibration.crop, crop))
        raise InputError(
            f"{folder} holds faces in the crop {made}, but this recognizer takes the crop {wanted}: run `rkface "
            "calibrate` with this recognizer, or give photos instead of a set"
        )
    if (calibration.width, calibration.height) != (input.width, input.height):
        raise InputError(
            f"{folder} was made for a detector input of {calibration.width}×{calibration.height}, but this detector "
            f"takes {input.width}×{input.height}: run `rkface calibrate` with it, or give photos instead of a set"
        )
    return calibration


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


def _without(found: Collection, digests: Iterable[str]) -> Collection:
    """``found`` without the photos whose SHA-256 is in ``digests``."""
    known = frozenset(digests)
    return _only_photos(found, [photo for photo in found.photos if sha256(photo) not in known]) if known else found


def _names(found: Collection) -> set[str]:
    """The names of the photos, relative to their folder."""
    return {photo.relative_to(found.folder).as_posix() for photo in found.photos}


def _only_photos(found: Collection, photos: Iterable[Path]) -> Collection:
    kept = set(photos)
    candidates = tuple(face for face in found.candidates if face.photo in kept)
    return replace(found, candidates=candidates, photos=tuple(photo for photo in found.photos if photo in kept))


def _embed(found: Collection, finder: FaceFinder) -> NDArray[np.float32]:
    with stage("tell people apart") as shown:
        return embed_faces(found.candidates, finder.embedder, shown.advance)


def _split(
    found: Collection, embeddings: NDArray[np.float32], same_person: float
) -> tuple[Collection, NDArray[np.float32] | None, Collection]:
    """Photos to calibrate on, the ``embeddings`` of their faces, and photos to evaluate on.

    Photos without a usable face go to evaluation: a detector can also find a face in a photo without faces.
    """
    if not found.candidates:
        require_enough_faces(Choice((), ()), found)
    calibrate, _ = hold_out(found.candidates, embeddings, same_person=same_person)
    photos = {found.candidates[index].photo for index in calibrate}
    # hold_out never splits a photo, so the faces of these photos are exactly those of the indices, in the same order.
    return _only_photos(found, photos), embeddings[calibrate], _only_photos(found, set(found.photos) - photos)


def build_evaluation_set(
    photos: PhotoOptions, found: Collection, finder: FaceFinder, calibrated: Iterable[str] = ()
) -> EvaluationSet:
    """At most ``photos.evaluation_count`` faces and photos of ``found``. ``calibrated``: names of the photos that
    calibrate. Raises InputError if there are too few."""
    if len(found.candidates) < MIN_EVALUATION_FACES:
        raise InputError(
            f"{found.folder}: only {len(found.candidates)} usable faces to evaluate on, at least "
            f"{MIN_EVALUATION_FACES} are needed: add photos, or give other photos with --evaluation"
        )
    faces = found.candidates[: photos.evaluation_count]
    first = dict.fromkeys(face.photo for face in faces)
    chosen = (*first, *(photo for photo in found.photos if photo not in first))[: photos.evaluation_count]
    faces = tuple(face for face in faces if face.photo in set(chosen))
    with stage("evaluation frames") as shown:
        fitted = [letterbox(read_image(photo), finder.input.width, finder.input.height) for photo in chosen]
        shown.note = f"{len(faces)} faces in {len(chosen)} photos"
    scales = tuple(one.scale for one in fitted)
    frames, crops = to_rgb(one.image for one in fitted), to_rgb(face.crop for face in faces)
    labeled: tuple[tuple[int, int, bool], ...] = ()
    notes: tuple[str, ...] = ()
    if photos.pairs is not None:
        why = reasons_left_out(found, calibrated, photos.evaluation_count)
        labeled, notes = label_pairs(photos.pairs, faces, why, {one.name for one in found.nameless})
    return EvaluationSet(chosen, frames, scales, faces, crops, labeled, make_mosaics(frames), notes=notes)
