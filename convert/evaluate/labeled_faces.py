"""Reads labeled photos: aligned faces, and pairs of faces that are known to show one person or two people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkface.calibration.choose import connected_components
from rkface.runtime.core.crop_template import ARCFACE_112, CropTemplate
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.progress import stage
from rkface.runtime.vision.image import decode_image
from rkface.runtime.vision.photo_files import count_left_out, list_photos

from ..image_lists import to_rgb
from ..label_files import find_people, read_pairs, require_both_labels
from ..people_folders import people_in_folders
from .binfile import read_bin
from .labeled_photos import FoundFaces, LabeledFaceFinder, find_labeled_faces

MAX_PAIRS = 2_000_000  # of each kind: enough for a FAR of 1e-6, and only seconds of work
ALL_BELOW = 4096  # with at most so many faces, all pairs are made before some are drawn

Images = NDArray[np.uint8]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class LabeledFaces:
    """P labeled pairs over N faces, each that of the labeled person in its photo.

    kind           "people", "pairs" or "bin"
    crops          N×height×width×3 uint8 RGB, aligned
    people         N ints from 0: the person that each face shows
    first, second  P ints: indices into ``crops``
    same           P bool: labeled as one person
    photos         number of different photos; ``faceless``, ``unreadable`` and ``unclear`` ones are not in ``crops``
    digests        SHA-256 of every photo's file
    notes          remarks for people
    labels         N: name of each face's person folder or photo; empty for verification files
    names          N: name of each face's photo, relative to the folder of photos; empty for verification files
    """

    kind: str
    crops: Images
    people: Indices
    first: Indices
    second: Indices
    same: NDArray[np.bool_]
    photos: int
    faceless: int = 0
    unreadable: int = 0
    unclear: int = 0
    digests: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def photo_name(self, face: int) -> str:
        """The name of the photo that shows ``face``, or the number of the crop in a verification file."""
        return self.names[face] if self.names else f"crop {face + 1}"

    @property
    def mirrored(self) -> bool:
        """Whether a face's embedding is the sum of those of its crop and of the mirrored crop, as in InsightFace's
        protocol for verification files."""
        return self.kind == "bin"

    @property
    def ordered(self) -> bool:
        """Whether the order of the pairs defines the folds of a protocol."""
        return self.kind == "bin"


def from_people(folder: Path, finder: LabeledFaceFinder) -> LabeledFaces:
    """All pairs of the photos in ``folder``, which has a subfolder for each person.

    Raises InputError if there are fewer than two people, or if no person has two photos that show a face.
    """
    files = list_photos(folder)
    photos = files.photos
    people_of = people_in_folders(folder, photos)
    inside, names = list(people_of), sorted({*people_of.values()})
    found = find_labeled_faces(inside, finder)
    for copy, place in found.copies.items():
        photo, other = inside[place], inside[copy]
        if place in found.crops and people_of[photo] != people_of[other]:
            raise InputError(
                f"{folder}: {photo.relative_to(folder)} and {other.relative_to(folder)} are the same photo in the "
                "folders of two people: remove the wrong one"
            )
    number = {name: index for index, name in enumerate(names)}
    people = np.array([number[people_of[inside[place]]] for place in found.crops], np.int64)
    notes = [*found.notes, *([count_left_out(files.left_out)] if files.left_out else [])]
    if outside := len(photos) - len(inside):
        notes.append(f"{outside} photos are not in a person's folder and were left out")
    first, second, all_of_them = all_pairs(people)
    if not all_of_them:
        notes.append(f"at most {MAX_PAIRS:,} pairs of each kind were drawn, with a fixed seed")
    same = people[first] == people[second]
    count = len(inside) - len(found.copies)
    _require_both(folder, same, found, len(inside))
    return LabeledFaces(
        "people", to_rgb(found.crops.values()), people, first, second, same, count, found.faceless,
        found.unreadable, found.unclear, found.digests, tuple(notes), tuple(names[person] for person in people),
        tuple(inside[place].relative_to(folder).as_posix() for place in found.crops),
    )  # fmt: skip


def from_pairs(table: Path, folder: Path, finder: LabeledFaceFinder) -> LabeledFaces:
    """The pairs in the CSV file ``table``, which names photos by their path relative to ``folder``.

    Photos that are linked by pairs of one person, directly or through other photos, show the same person. Pairs of a
    photo and itself, and pairs that were there before, do not count; copies of a file are one photo. Raises InputError
    if a photo is missing, if labels contradict each other, or if one kind of pairs is missing.
    """
    pairs = read_pairs(table)
    require_both_labels(table, [same for *_, same in pairs], "label such pairs")
    names = sorted({name for left, right, _ in pairs for name in (left, right)})
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise InputError(
            f"{table}: {len(absent)} of its {len(names)} photos are not in {folder}, such as {absent[0]!r}: write each "
            "path relative to this folder, or give the right folder with --photos"
        )
    found = find_labeled_faces([folder / name for name in names], finder)
    original = {names[copy]: names[place] for copy, place in found.copies.items()}
    pairs = [(original.get(left, left), original.get(right, right), same) for left, right, same in pairs]
    groups = find_people(table, pairs)
    different: dict[frozenset[str], tuple[str, str, bool]] = {}
    for left, right, same in pairs:
        if left != right:
            different.setdefault(frozenset((left, right)), (left, right, same))
    position = {names[index]: at for at, index in enumerate(found.crops)}
    kept = [
        (position[left], position[right], same)
        for left, right, same in different.values()
        if left in position and right in position
    ]
    first, second, same = np.array(kept, np.int64).reshape(-1, 3).T
    count = len(names) - len(found.copies)
    _require_both(table, same > 0, found, len(names))
    people = np.unique([groups[names[index]] for index in found.crops], return_inverse=True)[1].astype(np.int64)
    reasons = {
        "is unreadable": found.unreadable,
        "shows no face that is found": found.faceless,
        "does not show for certain who is meant": found.unclear,
    }
    why = "one of their photos " + " or ".join(reason for reason, number in reasons.items() if number)
    lost = {
        "they show the same photos as another pair, or one photo twice": len(pairs) - len(different),
        why: len(different) - len(kept),
    }
    left_out = (f"{number} of {len(pairs)} pairs were left out: {why}" for why, number in lost.items() if number)
    notes = (*left_out, *found.notes)
    labels = tuple(names[index] for index in found.crops)
    return LabeledFaces(
        "pairs", to_rgb(found.crops.values()), people, first, second, same > 0, count, found.faceless,
        found.unreadable, found.unclear, found.digests, notes, labels, labels,
    )  # fmt: skip


def from_bin(file: Path, crop: CropTemplate) -> LabeledFaces:
    """The pairs of an InsightFace verification file, whose crops are already aligned to ArcFace's template.

    Raises the errors of ``read_bin``, and InputError if ``crop``, the recognizer's, is another, or if the file's crops
    are not images of its size.
    """
    if not crop.same_crop(ARCFACE_112):
        raise InputError(
            f"{file} holds faces that were aligned to ArcFace's 112×112 template, but the recognizer takes the crop "
            f"{crop.name} ({crop.width}×{crop.height}): its figures on such faces would say nothing. Evaluate with "
            "--people or --pairs on whole photos, such as the original images of LFW"
        )
    size = crop.width
    with stage("read the pairs") as shown:
        content = read_bin(file)
        require_both_labels(file, content.same, "use a complete file, or evaluate photos with --people or --pairs")
        unique = {image: index for index, image in enumerate(dict.fromkeys(content.images))}
        crops = np.zeros((len(unique), size, size, 3), np.uint8)
        for index, data in enumerate(unique):
            image = decode_image(data, f"{file}, one of its images")
            if image.shape[:2] != crops.shape[1:3]:
                raise InputError(
                    f"{file}: its crops are {image.shape[1]}×{image.shape[0]}, but the recognizer takes {size}×{size}"
                )
            crops[index] = image[..., ::-1]
            shown.advance(index + 1, len(unique))
        shown.note = f"{len(content.same)} pairs of {len(unique)} crops"
    first, second = np.array([unique[image] for image in content.images], np.int64).reshape(-1, 2).T
    same = np.array(content.same)
    shown_by = connected_components(len(unique), zip(first[same].tolist(), second[same].tolist(), strict=True))
    people = np.unique(shown_by, return_inverse=True)[1].astype(np.int64)
    return LabeledFaces("bin", crops, people, first, second, same, len(unique))


def all_pairs(people: Indices) -> tuple[Indices, Indices, bool]:
    """Pairs of faces as two arrays of P indices, and whether these are all pairs.

    ``people`` says which person each face shows. At most ``MAX_PAIRS`` pairs of each kind are drawn, with a fixed seed.
    """
    random = np.random.default_rng(0)
    members = np.split(np.argsort(people, kind="stable"), np.cumsum(np.bincount(people)))
    same = np.concatenate([np.stack([one[at] for at in np.triu_indices(len(one), 1)]) for one in members], axis=1)
    total = len(people) * (len(people) - 1) // 2 - same.shape[1]
    if len(people) <= ALL_BELOW:
        different = np.stack(np.triu_indices(len(people), 1))
    else:  # too many to make all: draw indices, and remove the few duplicates
        drawn = np.sort(random.integers(len(people), size=(2, MAX_PAIRS * 3 // 2)), axis=0)
        codes = np.unique(drawn[0] * len(people) + drawn[1])
        different = np.stack(np.divmod(codes, len(people)))
    different = different[:, people[different[0]] != people[different[1]]]
    kept = [
        kind if kind.shape[1] <= MAX_PAIRS else kind[:, np.sort(random.permutation(kind.shape[1])[:MAX_PAIRS])]
        for kind in (same, different)
    ]
    complete = kept[0].shape[1] == same.shape[1] and kept[1].shape[1] == total
    first, second = np.concatenate(kept, axis=1)
    return first, second, complete


def _require_both(where: Path, same: NDArray[np.bool_], found: FoundFaces, photos: int) -> None:
    """Raise InputError if ``where`` has no pair of one person, or none of two people, among the ``found`` faces of its
    ``photos``."""
    if same.any() and not same.all():
        return
    missing = "one person" if not same.any() else "two people"
    lost = {
        "show no face that the bundle's detector finds": found.faceless,
        "are copies of others": len(found.copies),
        "are unreadable": found.unreadable,
        "do not show for certain who is meant or which way up": found.unclear,
    }
    counted = [f"{count} of {photos} photos {why}" for why, count in lost.items() if count]
    cause = "; ".join(counted) if counted else f"a usable face was found in all of its {photos} photos"
    raise InputError(
        f"{where} has no pair of {missing} ({cause}), but pairs of one person and of two people are needed: add photos "
        "of " + ("these people, at least two of each" if not same.any() else "other people")
    )
