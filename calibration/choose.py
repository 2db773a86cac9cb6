"""Select the faces to calibrate on, and hold out others for evaluation."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rkface.runtime.core.errors import InputError
from rkface.runtime.core.text import counted

from . import MINIMUM
from .collect import CandidateFace, Collection, Skipped
from .facility_location import SAME_PERSON, UNCLEAR, select_cover
from .same_person import explain_one_group
from .unlike import has_new_appearance

# Measured on 74 faces in 64 press photos and on copies of each photo (shrunk, recompressed, brightened, shifted):
# copies of a face differ in at most 18 of the 143 bits, different faces in at least 28.
HASH_SIDE, HASH_RADIUS = 12, 22
HASH_BITS = HASH_SIDE**2 - 1
SAME = HASH_BITS - 2 * HASH_RADIUS  # the least dot product of two hashes, as 1 and −1, of copies
COPY = "near-duplicate"
ORDERS = 32  # different splits that are compared
ENOUGH = 10  # faces: with fewer, a mean or a minimum says little
BLOCK = 1024  # rows of the matrix of all pairs that are in memory at the same time


@dataclass(frozen=True)
class Choice:
    """The selected ``faces``, most representative first, and those ``left_out``, each with the reason."""

    faces: tuple[CandidateFace, ...]
    left_out: tuple[Skipped, ...]


def choose_faces(
    candidates: Sequence[CandidateFace],
    count: int,
    embeddings: NDArray[np.float32] | None = None,
    *,
    same_person: float = SAME_PERSON,
) -> Choice:
    """Select the ``count`` faces that best represent all ``candidates``; all of them if there are fewer.

    Faces are compared by pose, light, skin tone and, if ``embeddings`` (N×D float32, unit length, in the order of
    ``candidates``) are given, by person: two faces with a cosine of ``same_person`` or more. Of near-duplicates only
    the best by quality is used: faces whose perceptual hashes differ in at most ``HASH_RADIUS`` bits, and faces of a
    second copy of a file. facility_location.py explains the selection. The result does not depend on the order of
    ``candidates``.
    """
    different, copied = find_copies(candidates)
    copies = [copy.skipped for copy in copied]
    if not different:
        return Choice((), ())
    faces = [candidates[index] for index in different]
    found = select_cover(
        [face.appearance for face in faces],
        np.array([face.quality.clarity for face in faces], np.float32),
        None if embeddings is None else embeddings[different],
        count,
        same_person,
    )
    surplus = []
    for index, reason, like in found.surplus:
        clarity = f"clarity {faces[index].quality.clarity:.2f}"
        detail = clarity if reason == UNCLEAR else f"most similar to the face from {faces[like].name}"
        surplus.append(Skipped(faces[index].name, reason, detail))
    return Choice(tuple(faces[index] for index in found.order), (*copies, *surplus))


@dataclass(frozen=True, eq=False)
class CopiedFace:
    """A face that was left out because ``original`` shows the same picture."""

    face: CandidateFace
    original: CandidateFace
    same_file: bool

    @property
    def skipped(self) -> Skipped:
        what = "the same file as" if self.same_file else "looks like the face from"
        return Skipped(self.face.name, COPY, f"{what} {self.original.name}")


def find_copies(
    candidates: Sequence[CandidateFace], known: Sequence[CandidateFace] = ()
) -> tuple[list[int], list[CopiedFace]]:
    """Indices of the ``candidates`` that are copies neither of a better one nor of a ``known`` face, best first; and
    the copies.

    Copies are faces whose perceptual hashes differ in at most ``HASH_RADIUS`` bits, and faces of a second copy of a
    file.
    """
    first: dict[str, list[CandidateFace]] = {}  # the faces of the photo that counts, by the hash of the file
    for face in (*known, *sorted(candidates, key=lambda one: one.name)):
        faces = first.setdefault(face.sha256, [])
        if not faces or faces[0].photo == face.photo:
            faces.append(face)
    seen, hashes, different = _hashes(known), _hashes(candidates), list[int]()
    copies = []
    for index in sorted(range(len(candidates)), key=lambda index: _rank(candidates[index])):
        face = candidates[index]
        same_file = first[face.sha256]
        if face.photo != same_file[0].photo:
            copies.append(CopiedFace(face, _nearest(face, same_file), same_file=True))
            continue
        like = seen @ hashes[index]
        if len(like) and like.max() >= SAME:
            copies.append(CopiedFace(face, known[int(like.argmax())], same_file=False))
        else:
            different.append(index)
    originals = _originals(hashes[different], SAME)
    for index, original in zip(different, originals, strict=True):
        if index != different[original]:
            copies.append(CopiedFace(candidates[index], candidates[different[original]], same_file=False))
    return [index for place, index in enumerate(different) if originals[place] == place], copies


def _nearest(face: CandidateFace, others: Sequence[CandidateFace]) -> CandidateFace:
    """The one of ``others``, in a copy of the same file, at the place of ``face``."""
    return min(others, key=lambda one: float(np.abs(one.faces.boxes[0] - face.faces.boxes[0]).sum()))


def _hashes(faces: Sequence[CandidateFace]) -> NDArray[np.float32]:
    """The perceptual hash of each face: N×143 float32, 1 or −1. The dot product of two is the number of equal bits,
    minus that of different ones."""
    bits = np.array([perceptual_hash(face.crop) for face in faces]).reshape(-1, HASH_BITS)
    return np.where(bits, 1, -1).astype(np.float32)


def _rank(candidate: CandidateFace) -> tuple[float, str, list[float]]:
    return -candidate.quality.score, candidate.name, candidate.faces.boxes[0].tolist()


def _originals(vectors: NDArray[np.float32], least: float) -> list[int]:
    """For each of the N×D ``vectors``, the index of the first original that it copies, or its own if it is an original.

    A vector is a copy of an earlier one if their dot product is at least ``least``.
    """
    originals = np.full(len(vectors), -1)
    for start in range(0, len(vectors), BLOCK):
        for index, like in enumerate(vectors[start : start + BLOCK] @ vectors.T >= least, start):
            if originals[index] < 0:
                originals[like & (originals < 0)] = index
    return [int(original) for original in originals]


def choose_frames(chosen: Sequence[CandidateFace], collection: Collection, count: int) -> tuple[Path, ...]:
    """At most ``count`` photos for the detector: those of the ``chosen`` faces in their order, then those without a
    usable face. Photos whose faces were all left out are not used."""
    with_faces = dict.fromkeys(candidate.photo for candidate in chosen)
    usable = {candidate.photo for candidate in collection.candidates}
    without = [photo for photo in collection.photos if photo not in usable]
    return (*with_faces, *without)[:count]


def require_enough_faces(choice: Choice, collection: Collection, hint: str = "") -> None:
    """Raise InputError if ``choice`` has too few faces for a calibration set.

    The message has the counts, the most frequent reason for faces that were left out, and what to do; ``hint`` is added
    to it.
    """
    if len(choice.faces) >= MINIMUM:
        return
    reasons = Counter(skip.reason for skip in (*collection.skipped, *choice.left_out))
    total = len({*collection.photos}) + sum(skip.reason == "unreadable" for skip in collection.skipped)
    often = reasons.most_common(1)
    why = f" (left out most often: {often[0][0]}, {often[0][1]}×)" if often else ""
    raise InputError(
        f"{collection.folder}: {counted(len(choice.faces), 'usable face')} in {counted(total, 'photo')}{why}; "
        f"a calibration set needs at least {MINIMUM}, because the INT8 ranges must fit all people: "
        f"add photos with sharp faces of different people{hint}"
    )


def perceptual_hash(crop: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """A perceptual hash of an S×S×3 uint8 BGR ``crop``: 143 booleans.

    They say which of the lowest 12×12 DCT coefficients, without the mean, are above their median. This is the DCT hash
    of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, with 12 frequencies instead
    of 8, because aligned faces are more similar to each other than photos are.
    """
    gray = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    low = cv2.dct(gray.astype(np.float32))[:HASH_SIDE, :HASH_SIDE].ravel()[1:]
    return np.asarray(low > np.median(low), np.bool_)


@dataclass(frozen=True)
class PhotoGroup:
    """Photos that must stay on one side: the smallest of their hashes, and the indices of their faces."""

    digest: str
    faces: list[int]

    def place(self, order: int) -> str:
        """The place of the group in one of many orders. The hash is hashed again: the minimum of many hashes is small,
        so without it, large groups would always come first."""
        salt = str(order) if order else ""
        return hashlib.sha256(f"{salt}{self.digest}".encode()).hexdigest()


def hold_out(
    candidates: Sequence[CandidateFace],
    embeddings: NDArray[np.float32],
    share: float = 0.4,
    *,
    same_person: float = SAME_PERSON,
) -> tuple[list[int], list[int]]:
    """Split faces into those to calibrate on and those to evaluate on: two ascending lists of indices.

    ``embeddings`` (N×D float32, unit length) belong to ``candidates``. Two photos are in the same group if they have
    faces with a cosine of ``same_person`` or more (single linkage, so chains count), or are copies of one file. Groups
    are never split, so no photo and, as far as the embeddings can tell, no person is on both sides. Groups are taken in
    the order of their hash, not of their quality, so that the evaluation side does not only get good faces. A group
    with more than half of the faces calibrates: chains of a weak recognizer connect many people. Without such a group,
    the size of the evaluation side differs from ``share`` of all faces by at most half the largest group.

    Of ``ORDERS`` such splits, the first is taken in which ``ENOUGH`` evaluation faces have an appearance that no
    calibration face has (unlike.py), and as many have a usual one; otherwise the one that comes nearest to it.

    Raises InputError if all faces form one group.
    """
    if len(candidates) != len(embeddings) or not 0 < share < 1:
        raise ValueError("give one embedding for each candidate, and a share between 0 and 1")
    groups = _groups(candidates, embeddings, same_person)
    best: tuple[tuple[bool, int, int], list[int], list[int]] | None = None
    for order in range(ORDERS):
        calibrate, evaluate = _split(groups, len(candidates), share, order)
        if not calibrate or not evaluate:
            raise InputError(explain_one_group(candidates, embeddings, same_person))
        new = has_new_appearance(
            [candidates[index] for index in evaluate], [candidates[index] for index in calibrate]
        ).sum()
        worth = len(calibrate) >= MINIMUM, min(len(evaluate) - new, ENOUGH), min(new, ENOUGH)
        if best is None or worth > best[0]:
            best = worth, calibrate, evaluate
        if worth == (True, ENOUGH, ENOUGH):
            break
    assert best is not None
    return best[1:]


def _split(groups: Sequence[PhotoGroup], faces: int, share: float, order: int) -> tuple[list[int], list[int]]:
    """The indices of the faces to calibrate on and to evaluate on, both ascending, if the groups are taken in the
    given ``order``: each number gives another."""
    evaluate: list[int] = []
    for group in sorted(groups, key=lambda group: group.place(order)):
        if len(group.faces) > faces / 2:  # evaluated, it would leave too few faces to calibrate on
            continue
        if abs(len(evaluate) + len(group.faces) - share * faces) < abs(len(evaluate) - share * faces):
            evaluate += group.faces
    return sorted(set(range(faces)) - set(evaluate)), sorted(evaluate)


def _groups(
    candidates: Sequence[CandidateFace], embeddings: NDArray[np.float32], same_person: float
) -> list[PhotoGroup]:
    photos = {digest: index for index, digest in enumerate(sorted({candidate.sha256 for candidate in candidates}))}
    node = [photos[candidate.sha256] for candidate in candidates]
    alike = (
        (node[start + row], node[column])
        for start in range(0, len(embeddings), BLOCK)
        for row, column in np.argwhere(embeddings[start : start + BLOCK] @ embeddings.T >= same_person)
    )
    group = connected_components(len(photos), alike)
    members: dict[int, list[int]] = {}
    for index, photo in enumerate(node):
        members.setdefault(group[photo], []).append(index)
    names = list(photos)
    return [PhotoGroup(names[first], faces) for first, faces in members.items()]


def connected_components(count: int, joined: Iterable[tuple[int, int]]) -> list[int]:
    """Connected components of a graph with nodes 0 … ``count`` − 1 and the edges ``joined``.

    For each node, the smallest node of its component (union-find).
    """
    parent = list(range(count))

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = one = parent[parent[one]]
        return one

    for left, right in joined:
        low, high = sorted((root(left), root(right)))
        parent[high] = low
    return [root(one) for one in range(count)]
