"""Photos of which it is known whom they show → aligned faces and labeled pairs of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rkface.calibration.choose import connected_components
from rkface.runtime.core.bundle import sha256
from rkface.runtime.core.errors import InputError
from rkface.runtime.core.progress import stage
from rkface.runtime.vision.align import align
from rkface.runtime.vision.detect import Detector
from rkface.runtime.vision.image import decode_image, find_images, read_image

from .binfile import read_bin
from .material import read_pairs, to_rgb

MOST_PAIRS = 2_000_000  # of each kind: enough for a FAR of 1e-6, and seconds of work
ALL_BELOW = 4096  # faces of which all pairs are made before some are drawn

Images = NDArray[np.uint8]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Labeled:
    """P labeled pairs over N faces, each the largest of its photo.

    kind           "people", "pairs" or "bin"
    crops          N×S×S×3 uint8 RGB, aligned
    people         N ints: who each face shows, counted from 0
    first, second  P ints: places in ``crops``
    same           P bool: labeled as one person
    photos         how many were looked at; ``faceless`` and ``unreadable`` ones among them are not in ``crops``
    digests        SHA-256 of every photo's file
    labels         N: what each face goes by, its person's folder or its photo; empty for verification files
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
    digests: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def mirrored(self) -> bool:
        """Whether a face's embedding is the sum of its crop's and the mirrored crop's, as InsightFace's protocol for
        verification files has it."""
        return self.kind == "bin"

    @property
    def ordered(self) -> bool:
        """Whether the order of the pairs is that of a protocol's folds."""
        return self.kind == "bin"


@dataclass(frozen=True)
class Finder:
    """The FP32 detector, its score ``threshold``, and the side of the recognizer's crops."""

    detector: Detector
    threshold: float
    size: int


@dataclass(frozen=True)
class _Found:
    """The largest face of each photo that has one: ``place`` of the photo → crop (BGR)."""

    crops: dict[int, Images]
    faceless: int
    unreadable: int
    digests: frozenset[str]


def from_people(folder: Path, finder: Finder) -> Labeled:
    """All pairs among the photos in ``folder``, which has a sub-folder for each person.

    InputError where there are not two people, or no person with two photos that show a face.
    """
    photos = find_images(folder)
    parts = [photo.relative_to(folder).parts for photo in photos]
    inside = [index for index, part in enumerate(parts) if len(part) > 1]
    names = sorted({parts[index][0] for index in inside})
    if len(names) < 2:
        raise InputError(
            f"{folder}: photos of {len(names)} people: it needs a sub-folder for each person, of two people at least, "
            "with the person's photos in it"
        )
    found = _find([photos[index] for index in inside], finder)
    number = {name: index for index, name in enumerate(names)}
    people = np.array([number[parts[inside[place]][0]] for place in found.crops], np.int64)
    notes = []
    if outside := len(photos) - len(inside):
        notes.append(f"{outside} photos lie outside the people's folders and were left out")
    first, second, all_of_them = all_pairs(people)
    if not all_of_them:
        notes.append(f"of all pairs, {MOST_PAIRS:,} at most of each kind were drawn, with a fixed seed")
    same = people[first] == people[second]
    _require_both(folder, same, found, len(inside))
    return Labeled(
        "people", to_rgb(found.crops.values()), people, first, second, same, len(inside), found.faceless,
        found.unreadable, found.digests, tuple(notes), tuple(names[person] for person in people),
    )  # fmt: skip


def from_pairs(table: Path, folder: Path, finder: Finder) -> Labeled:
    """The pairs that the CSV ``table`` labels, of photos named by their path below ``folder``.

    Whose pairs are of one person, directly or by way of others, counts as one person. InputError where a photo is not
    there, where labels contradict each other, or where not both kinds of pairs are left.
    """
    pairs = read_pairs(table)
    names = sorted({name for left, right, _ in pairs for name in (left, right)})
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise InputError(
            f"{table}: {len(absent)} of its {len(names)} photos are not below {folder}, {absent[0]!r} for one: name "
            "them by their path below it, or give the folder with --photos"
        )
    found = _find([folder / name for name in names], finder)
    place = {names[index]: at for at, index in enumerate(found.crops)}
    number = {name: index for index, name in enumerate(names)}
    groups = connected_components(len(names), [(number[left], number[right]) for left, right, same in pairs if same])
    for left, right, same in pairs:
        if not same and groups[number[left]] == groups[number[right]]:
            raise InputError(
                f"{table}: {left!r} and {right!r} are labeled as two people, and by way of other pairs as one: mend "
                "the label that is wrong"
            )
    kept = [(place[left], place[right], same) for left, right, same in pairs if left in place and right in place]
    first, second, same = np.array(kept, np.int64).reshape(-1, 3).T
    _require_both(table, same > 0, found, len(names))
    people = np.unique([groups[index] for index in found.crops], return_inverse=True)[1].astype(np.int64)
    lost = len(pairs) - len(kept)
    notes = (f"{lost} of {len(pairs)} pairs were left out: one of their photos shows no face",) if lost else ()
    return Labeled(
        "pairs", to_rgb(found.crops.values()), people, first, second, same > 0, len(names), found.faceless,
        found.unreadable, found.digests, notes, tuple(names[index] for index in found.crops),
    )  # fmt: skip


def from_bin(file: Path, size: int) -> Labeled:
    """The pairs of an InsightFace verification file, whose crops are aligned already; errors as of ``read_bin``, and
    where crops are no images of ``size``×``size``."""
    with stage("read the pairs") as shown:
        content = read_bin(file)
        unique = {image: index for index, image in enumerate(dict.fromkeys(content.images))}
        crops = np.zeros((len(unique), size, size, 3), np.uint8)
        for index, data in enumerate(unique):
            image = decode_image(data, f"{file}, one of its images")
            if image.shape[:2] != crops.shape[1:3]:
                raise InputError(
                    f"{file}: its crops are {image.shape[1]}×{image.shape[0]}, the recognizer takes {size}×{size}"
                )
            crops[index] = image[..., ::-1]
            shown.advance(index + 1, len(unique))
        shown.note = f"{len(content.same)} pairs of {len(unique)} crops"
    first, second = np.array([unique[image] for image in content.images], np.int64).reshape(-1, 2).T
    same = np.array(content.same)
    shown_by = connected_components(len(unique), zip(first[same].tolist(), second[same].tolist(), strict=True))
    people = np.unique(shown_by, return_inverse=True)[1].astype(np.int64)
    _require_both(file, same, _Found({}, 0, 0, frozenset()), len(unique))
    return Labeled("bin", crops, people, first, second, same, len(unique))


def all_pairs(people: Indices) -> tuple[Indices, Indices, bool]:
    """Every pair of faces, given who each shows; the last says whether those are all. Of each kind there are
    ``MOST_PAIRS`` at most, drawn with a fixed seed."""
    random = np.random.default_rng(0)
    members = np.split(np.argsort(people, kind="stable"), np.cumsum(np.bincount(people)))
    same = np.concatenate([np.stack([one[at] for at in np.triu_indices(len(one), 1)]) for one in members], axis=1)
    total = len(people) * (len(people) - 1) // 2 - same.shape[1]
    if len(people) <= ALL_BELOW:
        different = np.stack(np.triu_indices(len(people), 1))
    else:  # too many to make: draw places, and forget the few that came twice
        drawn = np.sort(random.integers(len(people), size=(2, MOST_PAIRS * 3 // 2)), axis=0)
        codes = np.unique(drawn[0] * len(people) + drawn[1])
        different = np.stack(np.divmod(codes, len(people)))
    different = different[:, people[different[0]] != people[different[1]]]
    kept = [
        kind if kind.shape[1] <= MOST_PAIRS else kind[:, np.sort(random.permutation(kind.shape[1])[:MOST_PAIRS])]
        for kind in (same, different)
    ]
    complete = kept[0].shape[1] == same.shape[1] and kept[1].shape[1] == total
    first, second = np.concatenate(kept, axis=1)
    return first, second, complete


def _find(photos: Sequence[Path], finder: Finder) -> _Found:
    crops: dict[int, Images] = {}
    digests: set[str] = set()
    unreadable = 0
    with stage("find faces") as shown:
        for index, photo in enumerate(photos):
            shown.advance(index, len(photos))
            try:
                image = read_image(photo)
                digests.add(sha256(photo))
            except (InputError, OSError):
                unreadable += 1
                continue
            faces = finder.detector.detect(image, finder.threshold)
            if len(faces):
                crops[index] = align(image, faces.landmarks[faces.largest()], finder.size)
        faceless = len(photos) - len(crops) - unreadable
        shown.note = f"in {len(crops)} of {len(photos)} photos"
    return _Found(crops, faceless, unreadable, frozenset(digests))


def _require_both(where: Path, same: NDArray[np.bool_], found: _Found, photos: int) -> None:
    if same.any() and not same.all():
        return
    lacking = "one person in two photos" if not same.any() else "two people"
    raise InputError(
        f"{where}: no pair of {lacking} is left ({found.faceless} of {photos} photos show no face that the bundle's "
        f"detector finds, {found.unreadable} cannot be read): pairs of both kinds are needed, add photos"
    )
