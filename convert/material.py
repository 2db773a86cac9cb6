"""Photos → what one conversion needs of them: a calibration set, and other faces to judge the result by."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkface.calibration.choose import Choice, choose_faces, choose_frames, hold_out, require_enough_faces
from rkface.calibration.collect import CandidateFace, Collection, collect_faces, embed_faces
from rkface.calibration.dataset import LIST, CalibrationSet, Provenance, is_set, read_set, write_png, write_set
from rkface.runtime.core.bundle import Input, Role, sha256
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.progress import stage
from rkface.runtime.vision.detect import THRESHOLD, Detector, letterbox
from rkface.runtime.vision.embed import Embedder
from rkface.runtime.vision.image import read_image

from .mosaic import mosaics

ENOUGH = 10  # evaluation faces below which a percentile or a minimum says nothing

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Photos:
    """What the user gave: ``calibration`` (a folder of photos, or a finished set), ``evaluation`` (other photos; None
    holds back some of the former), ``pairs`` (a CSV of photo, photo, Yes or No).

    ``count`` faces and frames calibrate; at most ``evaluate`` faces and frames judge the result.
    """

    calibration: Path
    evaluation: Path | None = None
    pairs: Path | None = None
    count: int = 100
    evaluate: int = 100


@dataclass(frozen=True)
class Finder:
    """The FP32 models that find and tell apart the faces of photos; ``digest`` is of the detector's ONNX."""

    detector: Detector
    input: Input
    embedder: Embedder
    digest: str


@dataclass(frozen=True)
class Evaluation:
    """Photos that calibration never saw, and their faces as the FP32 detector finds them.

    frames    N×H×W×3 uint8 RGB: ``photos`` letterboxed for the detector, with ``scales`` input pixels per photo pixel
    crops     M×112×112×3 uint8 RGB: ``faces`` as the recognizer is given them
    labeled  (index, index, same person) over ``faces``; empty where the user has no labels
    mosaics   8×H×W×3 uint8 RGB: crowds of small faces made of ``frames``, which judge the detector apart
    around    M×h×w×3 uint8 RGB: ``faces`` as a liveness model is shown them; None without one
    """

    photos: tuple[Path, ...]
    frames: Image
    scales: tuple[float, ...]
    faces: tuple[CandidateFace, ...]
    crops: Image
    labeled: tuple[tuple[int, int, bool], ...]
    mosaics: Image
    around: Image | None = None

    @property
    def scenes(self) -> Image:
        """All that the detectors answer to: ``frames``, then ``mosaics``."""
        return np.concatenate([self.frames, self.mosaics])

    def images(self, role: Role) -> Image:
        """What the model of ``role`` answers to."""
        if role == "liveness":
            assert self.around is not None
            return self.around
        return self.scenes if role == "detector" else self.crops


@dataclass(frozen=True)
class Material:
    """``calibration`` is None where nothing is quantized; ``faces`` are those in it, () of a finished set; ``around``
    lists what a liveness model calibrates on."""

    calibration: CalibrationSet | None
    evaluation: Evaluation
    notes: tuple[str, ...] = ()
    faces: tuple[CandidateFace, ...] = ()
    around: Path | None = None

    def dataset(self, role: Role) -> Path | None:
        """The list of images that the model of ``role`` calibrates on."""
        if self.calibration is None or role == "liveness":
            return self.around
        return self.calibration.detector if role == "detector" else self.calibration.recognizer


def gather(photos: Photos, finder: Finder, out: Path, *, quantized: bool = True) -> Material:
    """Find the faces of ``photos`` and write the calibration set to ``out``.

    Calibration and evaluation share no photo; where one folder serves both, they share, as far as FP32 embeddings can
    tell, no person either. InputError where there are too few faces for one of them.
    """
    if is_set(photos.calibration):
        calibration = _finished(photos.calibration, finder.input)
        if photos.evaluation is None:
            raise InputError(
                f"{photos.calibration} is a finished calibration set: give photos that are not in it with "
                "--evaluation, so that the result can be judged on faces that calibration never saw"
            )
        rest = find(photos.evaluation, finder, unlike=calibration.sources)
        return Material(calibration if quantized else None, evaluation_of(photos, rest, finder))
    found = find(photos.calibration, finder)
    if not quantized:
        rest = found if photos.evaluation is None else find(photos.evaluation, finder)
        return Material(None, evaluation_of(photos, rest, finder))
    if photos.evaluation is None:
        found, embeddings, rest = _split(found, _tell_apart(found, finder))
    else:
        rest = find(photos.evaluation, finder, unlike={sha256(photo) for photo in found.photos})
        # Where all will be taken, nobody needs to know who they are.
        embeddings = _tell_apart(found, finder) if len(found.candidates) > photos.count else None
    with stage("calibration set") as shown:
        choice = choose_faces(found.candidates, photos.count, embeddings)
        require_enough_faces(choice, found)
        faces, frames = choice.faces, choose_frames(choice.faces, found, photos.count)
        provenance = Provenance(photos.calibration, finder.digest, THRESHOLD, (*found.skipped, *choice.left_out))
        calibration = write_set(
            out,
            faces,
            frames,
            finder.input.width,
            finder.input.height,
            provenance=provenance,
            among=found.candidates,
        )
        shown.note = f"{calibration.faces} faces, {calibration.frames} frames"
    few = f"calibrated on {len(faces)} faces instead of {photos.count}: no more usable ones were found"
    notes = (few,) if len(faces) < photos.count else ()
    return Material(calibration, evaluation_of(photos, rest, finder), notes, faces)


def render_photos(folder: Path) -> Photos:
    """Photos for the demo pack: rendered people it was not trained on, some to calibrate on, others to judge by."""
    from .demo.render import CALIBRATE, EVALUATE, write_photos

    calibration, evaluation = folder / "calibration", folder / "evaluation"
    with stage("render faces") as shown:
        for where, people, shots in ((calibration, CALIBRATE[:50], 2), (evaluation, EVALUATE[:50], 3)):
            shutil.rmtree(where, ignore_errors=True)
            write_photos(where, people, shots, seed=0, progress=shown.advance)
        shown.note = "synthetic photos, of other people than those the demo models were trained on"
    return Photos(calibration, evaluation, evaluation / "pairs.csv", evaluate=150)


def to_rgb(images: Iterable[Image]) -> Image:
    """BGR images of one size → one N×H×W×3 RGB array, as a backend takes it."""
    return np.ascontiguousarray(np.stack(list(images))[..., ::-1])


def write_list(images: Iterable[Image], folder: Path) -> Path:
    """Write ``images`` (BGR) into ``folder``, which is made, and the list of them that the toolkit calibrates on."""
    folder.mkdir(mode=0o700)
    names = []
    for index, image in enumerate(images):
        names.append(f"{index:04}.png")
        write_png(folder / names[-1], image)
    dataset = folder / LIST
    dataset.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return dataset


def _finished(folder: Path, input: Input) -> CalibrationSet:
    calibration = read_set(folder)
    if (calibration.width, calibration.height) != (input.width, input.height):
        raise InputError(
            f"{folder} was made for a detector of {calibration.width}×{calibration.height}, this one takes "
            f"{input.width}×{input.height}: run `rkface calibrate` with it, or give photos instead of a set"
        )
    return calibration


def find(folder: Path, finder: Finder, unlike: Iterable[str] = ()) -> Collection:
    """Every face of ``folder``; photos whose SHA-256 is in ``unlike`` count as not there."""
    with stage("find faces") as shown:
        found = collect_faces(folder, finder.detector, progress=shown.advance)
        shown.note = f"{len(found.candidates)} usable in {len(found.photos)} photos of {folder}"
    known = frozenset(unlike)
    if not known:
        return found
    photos = tuple(photo for photo in found.photos if sha256(photo) not in known)
    return _only(found, photos)


def _only(found: Collection, photos: Iterable[Path]) -> Collection:
    kept = set(photos)
    candidates = tuple(face for face in found.candidates if face.photo in kept)
    return Collection(found.folder, candidates, tuple(photo for photo in found.photos if photo in kept), found.skipped)


def _tell_apart(found: Collection, finder: Finder) -> NDArray[np.float32]:
    with stage("tell people apart") as shown:
        return embed_faces(found.candidates, finder.embedder, shown.advance)


def _split(
    found: Collection, embeddings: NDArray[np.float32]
) -> tuple[Collection, NDArray[np.float32] | None, Collection]:
    """Photos to calibrate on, the ``embeddings`` of their faces, and photos to evaluate on. Those without a usable face
    go to evaluation: a detector can also err by seeing what is not there."""
    if not found.candidates:
        require_enough_faces(Choice((), ()), found)
    calibrate, _ = hold_out(found.candidates, embeddings)
    photos = {found.candidates[index].photo for index in calibrate}
    # hold_out keeps photos whole: their faces are those of the indices, in the same order.
    return _only(found, photos), embeddings[calibrate], _only(found, set(found.photos) - photos)


def evaluation_of(photos: Photos, found: Collection, finder: Finder) -> Evaluation:
    """At most ``photos.evaluate`` faces and photos of ``found``. InputError where there are too few to judge by."""
    if len(found.candidates) < ENOUGH:
        raise InputError(
            f"{found.folder}: only {len(found.candidates)} usable faces to judge the result by, at least {ENOUGH} are "
            "needed: add photos, or give other ones with --evaluation"
        )
    faces = found.candidates[: photos.evaluate]
    first = dict.fromkeys(face.photo for face in faces)
    chosen = (*first, *(photo for photo in found.photos if photo not in first))[: photos.evaluate]
    faces = tuple(face for face in faces if face.photo in set(chosen))
    with stage("evaluation frames") as shown:
        fitted = [letterbox(read_image(photo), finder.input.width, finder.input.height) for photo in chosen]
        shown.note = f"{len(faces)} faces in {len(chosen)} photos"
    scales = tuple(one.scale for one in fitted)
    frames, crops = to_rgb(one.image for one in fitted), to_rgb(face.crop for face in faces)
    return Evaluation(chosen, frames, scales, faces, crops, _labels(photos.pairs, faces), mosaics(frames))


def _labels(pairs: Path | None, faces: tuple[CandidateFace, ...]) -> tuple[tuple[int, int, bool], ...]:
    """The pairs of ``pairs`` whose photos are both under evaluation, by the largest face of each photo."""
    if pairs is None:
        return ()
    largest: dict[str, int] = {}
    for index, face in enumerate(faces):
        if face.name not in largest or face.quality.size > faces[largest[face.name]].quality.size:
            largest[face.name] = index
    labeled = [
        (largest[left], largest[right], same)
        for left, right, same in read_pairs(pairs)
        if left in largest and right in largest
    ]
    if not any(same for *_, same in labeled) or all(same for *_, same in labeled):
        raise InputError(
            f"{pairs}: of its pairs {len(labeled)} lie among the evaluation photos, and both same and different "
            "people are needed: name the photos by their path below the folder, or label more pairs"
        )
    return tuple(labeled)


def read_pairs(path: Path) -> list[tuple[str, str, bool]]:
    """Labeled pairs from a CSV with a header and three columns: photo, photo, Yes (the same person) or No."""
    words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    rows = read_table(path)
    for number, row in enumerate(rows, 2):
        if len(row) != 3 or row[2].lower() not in words:
            raise InputError(f"{path}, line {number}: not «photo,photo,Yes» or «photo,photo,No»: {','.join(row)[:80]}")
    return [(row[0], row[1], words[row[2].lower()]) for row in rows]


def read_table(path: Path) -> list[list[str]]:
    """The rows of a CSV below its header, cells without the blanks around them."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [[cell.strip() for cell in row] for row in csv.reader(file) if row][1:]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error})") from error
