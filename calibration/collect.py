"""Find all faces in a folder of photos that can be used for calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.crop_template import CropTemplate
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.faces import Faces
from rkface.runtime.core.turns import Turn
from rkface.runtime.enrollment.measured_photo import find_large_boxes
from rkface.runtime.vision.align import align
from rkface.runtime.vision.decoder import PROCESSES
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.detector_shapes import AnyDetector
from rkface.runtime.vision.embed import Embedder
from rkface.runtime.vision.image import ReadPhoto
from rkface.runtime.vision.photo import UNSURE, PhotoFaces, find_faces
from rkface.runtime.vision.photo_files import count_left_out, list_photos
from rkface.runtime.vision.quality import Flaw, Quality, measure, standard
from rkface.runtime.vision.read_ahead import ReadAhead

from .appearance_stats import AppearanceStats, measure_appearance
from .progress_file import ProgressFile

BATCH = 16
NO_FACE = "no face"  # the reasons for which a photo is skipped
WHICH_WAY_UP = "not clear which way up"
# Of several faces in a labeled photo, the largest is the labeled person's, unless another is half as wide or more.
# Enrollment asks from a quarter on (runtime/enrollment/measured_photo.py); here nobody can be asked.
SECOND = 0.5
SEVERAL = "several large faces: it is not clear who is meant"


@dataclass(frozen=True, eq=False)
class CandidateFace:
    """One usable face of one photo.

    photo       its path
    name        its path relative to the collected folder, with /
    sha256      the hash of the photo's file
    faces       this one face, in pixels of the photo after it was turned
    crop        the aligned face, height×width×3 uint8 BGR
    quality     size, sharpness, exposure, pose and detection score
    appearance  pose, light and skin tone
    turned      by how many degrees the photo was turned clockwise, so that the face is upright
    again       whether the photo shows a face only at an additional look: a close-up
    """

    photo: Path
    name: str
    sha256: str
    faces: Faces
    crop: NDArray[np.uint8]
    quality: Quality
    appearance: AppearanceStats
    turned: Turn = 0
    again: bool = False


@dataclass(frozen=True)
class Skipped:
    """A photo or face that was left out. ``reason`` is one of a few texts, so that it can be counted."""

    name: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Collection:
    """The content of a folder.

    candidates  usable faces, in the order of photos, and of scores within a photo
    photos      every readable photo, with or without a face
    skipped     unreadable photos, photos without a face, and unusable faces
    nameless    photos with usable faces, of which none is certainly that of the person in a label
    digests     the SHA-256 of the file of each of ``photos``, as 64 hexadecimal digits
    """

    folder: Path
    candidates: tuple[CandidateFace, ...]
    photos: tuple[Path, ...]
    skipped: tuple[Skipped, ...]
    nameless: tuple[Skipped, ...] = ()
    digests: Mapping[Path, str] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """How many photos needed more than one look, and how many were left out because that did not help."""
        unclear = sum(one.reason == WHICH_WAY_UP for one in self.skipped)
        return look_notes(
            len({face.photo for face in self.candidates if face.turned}),
            len({face.photo for face in self.candidates if face.again}),
            unclear,
        )


def look_notes(turned: int, again: int, unclear: int) -> tuple[str, ...]:
    """Sentences about the numbers of photos that were turned, that show a face only at an additional look, and that
    were left out because it is not clear which way up they are."""
    notes = []
    if turned:
        notes.append(f"photos that were turned the right way up: {turned}")
    if again:
        notes.append(f"photos with a face found only at a second look, close up: {again}")
    if unclear:
        notes.append(f"photos left out because {UNSURE}: {unclear}")
    return tuple(notes)


def find_labeled_face(faces: Faces) -> int | None:
    """The index of the face that a label means: the largest, if no other of the ``faces`` is half as wide or more.
    None if it is not clear."""
    return large[0] if len(large := find_large_boxes(faces.boxes, SECOND)) == 1 else None


def collect_faces(
    folder: Path,
    detector: Detector,
    template: CropTemplate,
    *,
    threshold: float | None = None,
    one_look: bool = False,
    earlier: ProgressFile | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Collection:
    """Detect, align and measure every face of every photo below ``folder``.

    Photos on their side are turned and close-ups are found, as in enrollment (``runtime/vision/photo.py``). This is
    left out with ``one_look``, for photos that are known to be upright. ``template``: how the faces are aligned for the
    recognizer. ``threshold``: the minimum detection score; None is the detector's. Photos that cannot be read or have
    no face, and faces that are unusable, are skipped with the reason. ``earlier``: what an interrupted run has found,
    to which this run adds. ``progress`` is called with the number of photos that are done and of all photos.
    Raises InputError only if the folder does not exist or has no photos.
    """
    files = list_photos(folder)
    paths = files.photos
    threshold = detector.threshold if threshold is None else threshold
    if not paths:
        more = f"; {count_left_out(files.left_out)}" if files.left_out else ""
        raise InputError(f"{folder}: this folder has no JPEG, PNG, WebP, BMP or HEIC photo{more}")
    skipped = [Skipped(one.path.relative_to(folder).as_posix(), "unreadable", one.reason) for one in files.left_out]
    results = []
    with ReadAhead(paths, _PhotoSearch(folder, detector, template, threshold, one_look, earlier).examine) as reader:
        for index, path in enumerate(paths):
            progress(index, len(paths))
            try:
                results.append(reader.take(path))
            except (InputError, OSError) as error:
                name = path.relative_to(folder).as_posix()
                unread = Skipped(name, "unreadable", str(error).removeprefix(f"{path}: "))
                results.append(_Examined(None, skipped=(unread,)))
    progress(len(paths), len(paths))
    return Collection(
        folder,
        tuple(face for one in results for face in one.candidates),
        tuple(one.photo for one in results if one.photo is not None),
        (*skipped, *(skip for one in results for skip in one.skipped)),
        tuple(one.nameless for one in results if one.nameless is not None),
        {one.photo: one.sha256 for one in results if one.photo is not None},
    )


@dataclass(frozen=True, eq=False)
class _Examined:
    """One photo with the SHA-256 of its file: its usable faces, what was left out, and why its label may not be used.
    ``photo`` is None if it cannot be read."""

    photo: Path | None
    sha256: str = ""
    candidates: tuple[CandidateFace, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    nameless: Skipped | None = None


@dataclass(frozen=True, eq=False)
class _PhotoSearch:
    """How the faces in the photos below ``folder`` are found: see ``collect_faces``."""

    folder: Path
    detector: AnyDetector
    template: CropTemplate
    threshold: float
    one_look: bool
    earlier: ProgressFile | None

    def examine(self, photo: ReadPhoto) -> _Examined:
        """Find and measure the faces in ``photo``. Threads call this."""
        path, image, digest = photo.path, photo.image, photo.sha256
        name = path.relative_to(self.folder).as_posix()
        look = self._look(digest, image)
        faces = look.faces
        if not len(faces):
            detail = f"the detector found no face with a score of {self.threshold} or more"
            return _Examined(path, digest, skipped=(Skipped(name, NO_FACE, detail),))
        if not look.sure:
            return _Examined(path, digest, skipped=(Skipped(name, WHICH_WAY_UP, UNSURE),))
        labeled = find_labeled_face(faces)
        nameless = Skipped(name, SEVERAL, f"{len(faces)} faces") if labeled is None else None
        candidates, skipped = [], []
        for one in range(len(faces)):
            face = faces[one : one + 1]
            found = _usable(look.image, face, self.template)
            if isinstance(found, Flaw):
                skipped.append(Skipped(name, found.reason, found.detail))
                nameless = skipped[-1] if one == labeled else nameless
            else:
                candidates.append(CandidateFace(path, name, digest, face, *found, look.turned, look.again))
        return _Examined(path, digest, tuple(candidates), tuple(skipped), nameless)

    def _look(self, digest: str, image: NDArray[np.uint8]) -> PhotoFaces:
        """The faces in ``image``, of the file with this ``digest``: as an earlier run has found them, or found now."""
        if self.earlier is not None and (known := self.earlier.known.get(digest)):
            return known.show(image)
        look = look_at_photo(self.detector, image, self.threshold, one_look=self.one_look)
        if self.earlier is not None:
            self.earlier.add(digest, look)
        return look


def look_at_photo(detector: AnyDetector, image: NDArray[np.uint8], threshold: float, *, one_look: bool) -> PhotoFaces:
    """The faces in ``image`` (H×W×3 uint8 BGR), by ``find_faces``, or with ``one_look`` as in a frame of a camera."""
    if one_look:
        return PhotoFaces(image, detector.detect(image, threshold))
    return find_faces(detector, image, threshold)


def _usable(
    image: NDArray[np.uint8], face: Faces, template: CropTemplate
) -> tuple[NDArray[np.uint8], Quality, AppearanceStats] | Flaw:
    landmarks = face.landmarks[0]
    crop = align(image, landmarks, template)
    shown = standard(image, landmarks, crop, template)
    quality = measure(shown, landmarks, float(face.scores[0]))
    return quality.flaw() or (crop, quality, measure_appearance(shown, landmarks))


def embed_faces(
    candidates: Sequence[CandidateFace],
    embedder: Embedder,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> NDArray[np.float32]:
    """The embeddings of ``candidates``: N×D float32, unit length. ``progress`` as in ``collect_faces``.
    Several batches are computed at once."""
    starts = range(0, len(candidates), BATCH)
    crops = [[face.crop for face in candidates[start : start + BATCH]] for start in starts]
    embeddings = [np.zeros((0, embedder.dimensions), np.float32)]
    with ThreadPoolExecutor(PROCESSES) as pool:
        for start, batch in zip(starts, pool.map(embedder.embed, crops), strict=True):
            embeddings.append(batch)
            progress(start + len(batch), len(candidates))
    return np.concatenate(embeddings)
