"""From the user's photos to the two data sets of a conversion: one to calibrate on, and other faces to evaluate on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkface.calibration import MINIMUM
from rkface.calibration.appearance_stats import AppearanceStats, measure_appearance
from rkface.calibration.choose import (
    Choice,
    choose_faces,
    choose_frames,
    find_copies,
    hold_out,
    require_enough_faces,
)
from rkface.calibration.collect import CandidateFace, Collection, collect_faces, embed_faces
from rkface.calibration.dataset import CalibrationSet, is_set, read_set
from rkface.calibration.same_person import find_same_person
from rkface.calibration.write_set import Provenance, write_set
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.faces import Faces
from rkface.runtime.core.manifest import Role
from rkface.runtime.core.progress import stage
from rkface.runtime.vision.embed import Embedder
from rkface.runtime.vision.image import read_photo
from rkface.runtime.vision.quality import measure, standard

from .evaluate.max_drop import LabeledPairs, describe_doubts, require_enough_pairs
from .evaluation_set import CalibratedFaces, EvaluationSet, build_evaluation_set
from .face_finder import MIN_EVALUATION_FACES, FaceFinder, PhotoOptions, find_faces
from .image_lists import read_image_list
from .metric_bar import MetricBar


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
        finder, _, doubts = _tell_apart(rest, _settled(finder, rest, settle))
        notes = *every.notes, *doubts
        if not quantized:
            return Datasets(None, build_evaluation_set(photos, rest, finder), notes)
        calibrated = faces_of_set(calibration, finder)
        calibrated = replace(calibrated, photos=frozenset(_names(every) - _names(rest)))
        return Datasets(calibration, build_evaluation_set(photos, rest, finder, calibrated), notes)
    found = find_faces(photos.calibration, finder, one_look=photos.one_look)
    seen = found.notes
    finder = _settled(finder, found, settle)
    if not quantized:
        rest = found
        if photos.evaluation is not None:
            rest = find_faces(photos.evaluation, finder, one_look=photos.one_look)
        return Datasets(None, build_evaluation_set(photos, rest, finder), rest.notes)
    finder, embeddings, doubts = _tell_apart(found, finder)
    if photos.evaluation is None:
        found, embeddings, rest = _split(found, embeddings, finder.same_person)
        names = _names(found)
    else:
        every = find_faces(photos.evaluation, finder, one_look=photos.one_look)
        seen = tuple(
            f"{name} {note}" for name, one in (("calibration:", found), ("evaluation:", every)) for note in one.notes
        )
        rest = _without(every, {found.digests[photo] for photo in found.photos})
        names = _names(every) - _names(rest)
    calibration, faces = _write_calibration_set(photos, found, embeddings, finder, out)
    few = f"calibrated on {len(faces)} faces instead of {photos.count}: the photos have no more usable faces"
    notes = (*seen, *doubts, *((few,) if len(faces) < photos.count else ()))
    places = {id(face): place for place, face in enumerate(found.candidates)}
    calibrated = CalibratedFaces(
        frozenset(names), found.candidates, faces, embeddings=embeddings[[places[id(face)] for face in faces]]
    )
    evaluation = build_evaluation_set(photos, rest, finder, calibrated)
    return Datasets(calibration, evaluation, notes, faces)


def check_labels(datasets: Datasets, photos: PhotoOptions, max_drop: Sequence[MetricBar]) -> Datasets:
    """``datasets`` with remarks about labels that leave doubts about the figures of ``max_drop``. Raises InputError if
    there are too few labeled pairs to judge them."""
    evaluation = datasets.evaluation
    if not max_drop:
        return datasets
    pairs = LabeledPairs.of(evaluation.labeled, len(evaluation.faces))
    same = int(pairs.same.sum())
    full = len(evaluation.faces) >= photos.evaluation_count
    more = f"raise --evaluate (now {photos.evaluation_count}), or add labeled photos" if full else "add labeled photos"
    require_enough_pairs(max_drop, same, len(pairs.same) - same, "the photos to evaluate on have", more)
    notes = (*evaluation.notes, *describe_doubts(max_drop, pairs))
    return replace(datasets, evaluation=replace(evaluation, notes=notes))


def _settled(
    finder: FaceFinder, found: Collection, settle: Callable[[Sequence[CandidateFace]], Embedder] | None
) -> FaceFinder:
    return finder if settle is None else replace(finder, embedder=settle(found.candidates))


def _write_calibration_set(
    photos: PhotoOptions, found: Collection, embeddings: NDArray[np.float32], finder: FaceFinder, out: Path
) -> tuple[CalibrationSet, tuple[CandidateFace, ...]]:
    """Choose among the faces of ``found``, write the set to ``out``, and return it with the chosen faces."""
    with stage("calibration set") as shown:
        # If all faces are used anyway, it does not matter who they are.
        known = embeddings if len(found.candidates) > photos.count else None
        choice = choose_faces(found.candidates, photos.count, known, same_person=finder.same_person)
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


def faces_of_set(calibration: CalibrationSet, finder: FaceFinder) -> CalibratedFaces:
    """The faces of a finished ``calibration`` set.

    They are its crops. These do not show the pose: it is taken from the set's frames, in which the detector does not
    find every face again. The faces in the frames count as candidates: of them, too, evaluation must have no copies.
    """
    template = finder.embedder.crop
    points = np.array(template.points, np.float32)
    box = np.array([[0, 0, template.width, template.height]], np.float32)
    placed = Faces(box, np.ones(1, np.float32), points[None])
    faces = []
    for path in read_image_list(calibration.recognizer):
        photo = read_photo(path)
        crop, digest = photo.image, photo.sha256
        shown = standard(crop, points, crop, template)
        name = path.relative_to(calibration.folder).as_posix()
        quality, appearance = measure(shown, points, 1.0), measure_appearance(shown, points)
        faces.append(CandidateFace(path, name, digest, placed, crop, quality, appearance))
    with stage("poses of the calibration set") as progress:
        frames = collect_faces(
            calibration.detector.parent, finder.detector, template, one_look=True, progress=progress.advance
        )
        poses = {id(copy.original): copy.face.appearance for copy in find_copies(frames.candidates, faces)[1]}
        posed = tuple(_with_pose(face, poses[id(face)]) for face in faces if id(face) in poses)
        progress.note = f"known of {len(posed)} of {len(faces)} faces"
    return CalibratedFaces(candidates=(*faces, *frames.candidates), chosen=tuple(faces), posed=posed)


def _with_pose(face: CandidateFace, seen: AppearanceStats) -> CandidateFace:
    return replace(face, appearance=replace(face.appearance, yaw=seen.yaw, pitch=seen.pitch, roll=seen.roll))


def render_demo_photos(folder: Path) -> PhotoOptions:
    """Render photos for the demo pack into ``folder``: some people to calibrate on, other people to evaluate on. The
    demo models were trained on neither. Photos that are already there are kept."""
    from .demo.kept_photos import keep_photos

    calibration, evaluation = folder / "calibration", folder / "evaluation"
    with stage("render faces") as shown:
        rendered = keep_photos(folder, shown.advance)
        shown.note = "synthetic photos of people that the demo models were not trained on"
        if not rendered:
            shown.note += ", already rendered"
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


def _without(found: Collection, digests: Iterable[str]) -> Collection:
    """``found`` without the photos whose SHA-256 is in ``digests``."""
    known = frozenset(digests)
    return _only_photos(found, [photo for photo in found.photos if found.digests[photo] not in known])


def _names(found: Collection) -> set[str]:
    """The names of the photos, relative to their folder."""
    return {photo.relative_to(found.folder).as_posix() for photo in found.photos}


def _only_photos(found: Collection, photos: Iterable[Path]) -> Collection:
    kept = set(photos)
    candidates = tuple(face for face in found.candidates if face.photo in kept)
    return replace(found, candidates=candidates, photos=tuple(photo for photo in found.photos if photo in kept))


def _tell_apart(found: Collection, finder: FaceFinder) -> tuple[FaceFinder, NDArray[np.float32], tuple[str, ...]]:
    """``finder`` with the cosine of one person as measured on the faces of ``found``, their embeddings, and a remark if
    it could not be measured."""
    with stage("tell people apart") as shown:
        embeddings = embed_faces(found.candidates, finder.embedder, shown.advance)
        same_person = find_same_person(found.candidates, embeddings, finder.embedder)
        shown.note = str(same_person)
    return replace(finder, same_person=same_person.cosine), embeddings, (same_person.note,) if same_person.note else ()


def _split(
    found: Collection, embeddings: NDArray[np.float32], same_person: float
) -> tuple[Collection, NDArray[np.float32], Collection]:
    """Photos to calibrate on, the ``embeddings`` of their faces, and photos to evaluate on.

    Photos without a usable face go to evaluation: a detector can also find a face in a photo without faces.
    """
    if len(found.candidates) < MINIMUM:
        require_enough_faces(Choice(found.candidates, ()), found)
    calibrate, evaluate = hold_out(found.candidates, embeddings, same_person=same_person)
    if len(calibrate) < MINIMUM or len(evaluate) < MIN_EVALUATION_FACES:
        raise InputError(
            f"{found.folder}: its {len(found.candidates)} usable faces can only be split into {len(calibrate)} to "
            f"calibrate on, where {MINIMUM} are needed, and {len(evaluate)} to evaluate on, where "
            f"{MIN_EVALUATION_FACES} are needed. Faces that cosines of {same_person:.2f} or more connect, as those of "
            "one person, stay together: add photos of other people, or give other photos with --evaluation"
        )
    photos = {found.candidates[index].photo for index in calibrate}
    # hold_out never splits a photo, so the faces of these photos are exactly those of the indices, in the same order.
    return _only_photos(found, photos), embeddings[calibrate], _only_photos(found, set(found.photos) - photos)
