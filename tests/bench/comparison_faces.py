"""Whether both sides of `make bench` find the same faces: in photos, in camera frames, and in crowds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from comparison_statistics import are_close
from detector_size import CAMERA, place_in_frame
from program import format_table
from scenes import Material

from rkface.convert.evaluate.parity import match_boxes
from rkface.convert.mosaic import make_mosaics

NAMES = ("photos", "photos in 1920×1080", "mosaics of them")


@dataclass(frozen=True)
class SameFaces:
    """The faces that both sides find in ``images`` pictures, at their score threshold of 0.5.

    ours, theirs  number of faces
    lost          of theirs, without one of ours at an IoU of 0.5
    extra         of ours, without one of theirs
    moved         of the others, those whose box differs by more than a row of `make bench` may
    """

    name: str
    images: int
    ours: int
    theirs: int
    lost: int
    extra: int
    moved: int


def draw_pictures(material: Material) -> Iterator[tuple[str, list[np.ndarray]]]:
    """The pictures of each of NAMES: H×W×3 uint8 BGR."""
    photos = list(material.images())
    frames = [place_in_frame(image, CAMERA, seed) for seed, image in enumerate(photos)]
    yield from zip(NAMES, (photos, frames, list(make_mosaics(np.stack(frames)))), strict=True)


def count_same_faces(name: str, results: Iterable[tuple[Mapping[str, Any], Mapping[str, Any], float]]) -> SameFaces:
    """Compare the answers of both sides, ours first, about each picture of ``name``. With them: how many pixels of the
    picture are one pixel of the detector's input."""
    images = ours = theirs = both = moved = 0
    for mine, other, pixel in results:
        boxes = [np.asarray(one["boxes"], np.float32).reshape(-1, 4) for one in (mine, other)]
        pairs = match_boxes(boxes[1], boxes[0])
        images, ours, theirs, both = images + 1, ours + len(boxes[0]), theirs + len(boxes[1]), both + len(pairs)
        for row, column, _ in pairs:
            moved += not are_close(boxes[0][column : column + 1], boxes[1][row : row + 1], pixel)
    return SameFaces(name, images, ours, theirs, theirs - both, ours - both, moved)


def to_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """``rows``: SameFaces as dictionaries."""
    head = ["pictures", "number", "rkface: faces", "insightface", "lost", "extra", "box moved"]
    table = [[row[key] for key in ("name", "images", "ours", "theirs", "lost", "extra", "moved")] for row in rows]
    return "\n".join(format_table(head, table))
